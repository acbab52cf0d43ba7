/* evidence: the archive of a path, for the browser and for programs alike. */
#ifndef DRYDOCK_WEB_EVIDENCE_H
#define DRYDOCK_WEB_EVIDENCE_H

#include "web/web.h"

/* Reply with the archive for the request's path and its query's current=1. One is made at a time; ERR_BUSY otherwise. */
enum err reply_evidence(struct req *r) MUST_CHECK;

#endif
