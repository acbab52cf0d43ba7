/*
 * serve: the handlers of this room itself, for the table in web/routes.c.
 */
#ifndef DRYDOCK_WEB_SERVE_H
#define DRYDOCK_WEB_SERVE_H

#include "web/web.h"

enum err serve_health(struct req *r); /* web/metrics.c */
enum err serve_metrics(struct req *r);
enum err serve_static(struct req *r); /* web/static.c */
enum err serve_favicon(struct req *r);
enum err serve_preview(struct req *r); /* web/preview.c: below a capability path on the main port */

#endif
