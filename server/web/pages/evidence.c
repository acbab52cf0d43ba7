/* The archive of a path's history, as a download. */
#include "web/evidence.h"
#include "web/pages/pages.h"

/* GET /s/:site/evidence?path=&current= */
enum err page_evidence(struct req *r)
{
	return reply_evidence(r);
}
