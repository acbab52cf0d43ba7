/* The history of a path as an archive that can be checked without DryDock. */
#include "web/evidence.h"
#include "web/api/api.h"

/* GET /api/v1/sites/:site/evidence?path=&current= */
enum err api_evidence(struct req *r)
{
	return reply_evidence(r);
}
