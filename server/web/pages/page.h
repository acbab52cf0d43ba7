/*
 * page: what the pages share: the way to a path, links, acts as a timeline. (Times, states, sizes: view/show.h.)
 * Each page is a file of its own beside this one, with a template of the same stem.
 */
#ifndef DRYDOCK_WEB_PAGES_PAGE_H
#define DRYDOCK_WEB_PAGES_PAGE_H

#include "base/clock.h"
#include "view/show.h"
#include "web/history.h"
#include "web/web.h"

/* The handlers, from the rows. */
#define ROUTE(method, address, right, needs, body_limit, handler) enum err handler(struct req *r);
#include "web/pages/routes.def"
#undef ROUTE

/* "alice" for "own:alice"; the principal itself for other providers. In the arena. */
const char *page_user(struct req *r, const char *principal);
/* crumbs and leaf: links to the directories above. */
void page_crumbs(struct req *r, struct view_map *m, struct path path);
/* The address of a file's or a directory's page. */
const char *page_href(struct req *r, struct path path, bool is_dir);
const char *page_record_href(struct req *r, uint64_t seq);
/* A fresh id for repetition under `name`, for a form. */
void page_op(struct req *r, struct view_map *m, enum view_name name);
/* why_href: the explanation of his own rights on a path. */
const char *page_why(struct req *r, struct path path);
/* One act as timeline.html shows it, added to a list. about: the file that the page is about, or NULL. */
enum err page_act(struct req *r, struct view_list *items, const struct history_item *item, const struct path *about);
/* How a person is told what an act covers: "12 files below /docs/". */
const char *page_what(struct req *r, const struct history_item *item);

/* The page of a file on which an act just met a conflict: the sentence, and the file as it is now. */
enum err page_file_moved(struct req *r, struct path path, const char *sentence);
/* After an act: back to `back` (an address of ours), which will say that record `seq` was made. */
enum err page_done(struct req *r, const char *back, uint64_t seq);
/* The sentence about it, on the page that it led to. */
void page_notice(struct req *r, struct view_map *m);

#endif
