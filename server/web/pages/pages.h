/*
 * pages: what the handlers for browsers share. A page fills a model (view/view.h) with the names that its template lists
 * at its top, and replies once. Nothing is decided here: pages read through db/, catalog/ and web/history.h, and write
 * through acts/.
 */
#ifndef DRYDOCK_WEB_PAGES_PAGES_H
#define DRYDOCK_WEB_PAGES_PAGES_H

#include "web/jobs.h"
#include "web/web.h"

/* How often a page loads itself again where no scripts run, in seconds: of something that goes on and has no form. */
#define PAGE_REFRESH "2"

/* The handlers, from the rows. */
#define ROUTE(method, address, right, needs, body_limit, handler) enum err handler(struct req *r);
#include "web/pages/routes.def"
#undef ROUTE

/* "op" (a UUID: the form's id for repetition, made here if absent) and "note" of the form, checked. */
enum err page_act_request(struct req *r, struct act_request *rq) MUST_CHECK;
/* A new id for a form's hidden field "op". */
const char *page_op(struct req *r);
/* After an act: back to a page of ours, which then says what was done. query: of that page, or NULL. */
enum err page_done(struct req *r, const char *tail, const struct path *path, const char *query, const struct act_answer *a);
/* What page_done() left in the address: sets notice. Called by every page that an act leads back to. */
void page_notice(struct req *r, struct view_map *m);

/* "alice" for own:alice, "bob (unix)" for others, "the system" for acts without a person. */
const char *page_person(struct req *r, const char *principal);
/* "may sign and revoke": what a role allows, in words. */
const char *role_words(enum role role);

/* Queries for links: name=value with what must be escaped; NULL and "" are left out. */
struct page_query {
	struct buf b;
};
void page_query_add(struct page_query *q, const char *name, const char *value);
void page_query_add_int(struct page_query *q, const char *name, uint64_t value); /* 0 is left out */
const char *page_query_end(struct req *r, struct page_query *q); /* in the request's arena; releases q */

/* Items of {{>timeline}}: one act as people read it; the map, to add to. for_file: the path that the page is about, or NULL. */
struct history_item;
struct view_map *page_timeline_add(struct req *r, struct view_list *items, const struct history_item *item, const struct path *for_file);
/* The same as a sentence: verb "signed", what "12 files", and the file it is about if there is just one. */
struct page_deed {
	const char *verb, *what;
	const char *href; /* of the one file; NULL */
};
void page_deed(struct req *r, const struct history_item *item, struct page_deed *out);

/* Bytes of a text in a page, escaped: pages that list much stay below 50 kB. */
size_t page_bytes(const char *text);

/* crumbs and leaf: links to the directories above. */
void page_crumbs(struct req *r, struct view_map *m, struct path path);
/* The address of a file's or a directory's page; of a record's. */
const char *page_href(struct req *r, struct path path, bool is_dir);
const char *page_record_href(struct req *r, uint64_t seq);
/* The history of a file or a directory. */
const char *page_history_href(struct req *r, struct path path, bool is_dir);
/* Is there any path on which he is admin? */
bool page_admin_somewhere(struct req *r);
/* why_href: the explanation of his own rights on a path. */
const char *page_why(struct req *r, struct path path);
/* The page of a file on which an act just met a conflict: the sentence, and the file as it is now. */
enum err page_file_moved(struct req *r, const struct job_ask *ask, unsigned status, const char *sentence);
/* The same for an act on several: the sentence, and the list as it is now. */
enum err page_conflict(struct req *r, const struct job_ask *ask, unsigned status, const char *sentence);

/* A run's state, or a target's in it, for {{>badge}}; where a target stands (web/targets.h); its page; what a run was started for, and by whom (pages/sync.c). */
void page_run_badge(struct view_map *m, const char *state);
void page_target_badge(struct view_map *m, const char *state);
const char *page_target_href(struct req *r, const char *name);
const char *page_run_trigger(struct req *r, const struct db_run *run);
/* How far a kit is: "310 of 1,000" (pages/events.c). */
const char *page_far(struct req *r, const struct sync_progress *far);
/* Acts of this person on this site that are running, or came to nothing without his having seen it (pages/acts.c). */
void page_running(struct req *r, struct view_map *m);

#endif
