/*
 * api: what the handlers under /api/v1 share. Every list is an object with `items` and, where there is more, `next`.
 * The addresses, bodies and answers are described in doc/api.md; the rows stand in web/api/routes.def.
 */
#ifndef DRYDOCK_WEB_API_API_H
#define DRYDOCK_WEB_API_API_H

#include "web/web.h"

/* The handlers, from the rows. */
#define ROUTE(method, address, right, needs, body_limit, handler) enum err handler(struct req *r);
#include "web/api/routes.def"
#undef ROUTE

#define API_ANSWER_LIMIT (256 * 1024 * 1024) /* bytes of one answer */
#define API_PAGE 1000 /* items in a page unless asked otherwise */
#define API_PAGE_MOST 250000

/* An answer in the making: a buffer and the writer on it. */
struct answer {
	struct buf buf;
	struct json_out out;
};
void answer_begin(struct answer *a);
enum err answer_send(struct req *r, struct answer *a, unsigned status);
/* A list in one piece: begin; the items; then the answer, or the error that came up meanwhile. */
/* The member `targets`: which of them have it, or where it was revoked, from which it is gone, and since when. */
struct reach;
enum err answer_reach(struct req *r, struct json_out *out, const struct reach *x) MUST_CHECK;
struct target_now;
/* The member `report`: what a target's receiver found last, as far as this viewer may see it; null: nothing. */
void answer_report(struct req *r, struct json_out *o, const struct target_now *t);
void answer_items(struct answer *a);
enum err answer_items_send(struct req *r, struct answer *a, enum err e);
/* The same of a page of it; next: where more begins, 0: that is all. */
enum err answer_page_send(struct req *r, struct answer *a, uint64_t next, enum err e);

/* Parts that several answers have. */
void answer_file(struct req *r, struct json_out *o, const struct catalog_entry *e);
void answer_counts(struct json_out *o, const struct catalog_counts *c);
void answer_time(struct json_out *o, const char *name, int64_t wall); /* null for 0 */
void answer_hash(struct json_out *o, const char *name, const struct sha256 *h);
void answer_act(struct json_out *o, const struct act_answer *a); /* members of an object */
/* What was recorded is the whole answer; or e, why nothing was. */
enum err answer_act_send(struct req *r, enum err e, const struct act_answer *done, unsigned status);
void answer_record(struct json_out *o, const struct db_record_row *row, const struct record *rec); /* members without files */
void answer_record_file(struct json_out *o, const struct record_file *f); /* an object */
/* {"site","items","next"}: records as the API has them. After an error nothing is left to release. */
struct history_query;
enum err answer_history(struct req *r, struct answer *a, const struct history_query *q) MUST_CHECK;
void answer_plan(struct req *r, struct json_out *o, const struct plan *plan); /* items: his paths only */
void answer_selection(struct json_out *o, const struct selection *s, bool items); /* digest, files, bytes, and the items: members */

struct field_ask;
/* "fields": what is asked for, and "asked": its digest; members. */
void answer_asked(struct json_out *o, const struct field_ask *k);
/* {"reviews","have","by","text"} of what a signature needs, or null. */
void answer_need(struct req *r, struct json_out *o, const struct sign_need *f);

/* The role that a body asks for: -1 for null ("role": null removes the rule). */
enum err api_rule_wish(struct req *r, char principal[PRINCIPAL_LIMIT + 1], struct path *path, int *role) MUST_CHECK;
/* The act's request from the body: `id` (a UUID, made here if absent) and `note`. */
enum err api_act_request(struct req *r, struct act_request *rq) MUST_CHECK;
/* Members of the JSON body, checked: ERR_INPUT names the member. */
enum err api_path(struct req *r, const char *member, struct path *out) MUST_CHECK;
enum err api_text(struct req *r, const char *member, bool required, const char **out) MUST_CHECK; /* NULL if absent */
enum err api_bool(struct req *r, const char *member, bool fallback, bool *out) MUST_CHECK;
/* "paths" of the body, each visible to him; in the request's arena. */
enum err api_paths(struct req *r, struct path **paths, size_t *n) MUST_CHECK;
/* Nothing is there for someone who may neither view the path nor anything below it. */
enum err api_visible(struct req *r, struct path path) MUST_CHECK;

#endif
