/* replay: what the records of a log add up to, as replay.c keeps it and replay_rows.c writes it down. Nobody else includes it. */
#ifndef DRYDOCK_CHECK_REPLAY_H
#define DRYDOCK_CHECK_REPLAY_H

#include "check/internal.h"
#include "core/state.h"

#define SYSTEM_FORM "%s:%s" /* provider, name */

struct one_rule { const char *principal; struct path path; int role; uint64_t seq; };
struct one_requirement { struct path path; unsigned reviews; bool not_alone; uint64_t seq; };
struct one_version { const char *name; struct path path; uint64_t seq; };
struct one_preapproval { struct preapproved what; const char *actor, *note; int64_t at; uint64_t seq; };
struct one_hold { struct path path; const char *actor, *note; int64_t at, until; uint64_t seq; };
struct one_account { const char *name, *display; bool enabled; int64_t created_at; uint64_t seq; };
struct one_group { const char *name; int64_t created_at; uint64_t seq; };
struct one_token { const char *id, *owner, *label, *site, *path; int role; int64_t created_at, expires_at; uint64_t seq; };
struct one_member { const char *group, *principal; uint64_t seq; };

#define LIST(type) struct { type *p; size_t n, cap; }
#define LIST_ADD(list, ...) \
	do { \
		(list)->p = mem_grow((list)->p, &(list)->cap, (list)->n + 1, sizeof(*(list)->p)); \
		(list)->p[(list)->n++] = __VA_ARGS__; \
	} while (0)
/* Order means nothing: the last one takes the place. */
#define LIST_DROP(list, i) ((list)->p[i] = (list)->p[--(list)->n])

struct replay {
	const char *site, *node;
	struct arena *arena;
	struct replay_file **slots; /* open addressing by the path's hash */
	size_t n_slots, n_files;
	struct replay_file **sorted;
	bool is_sorted;
	LIST(struct one_rule) rules;
	LIST(struct one_requirement) requirements;
	LIST(struct field_def) fields;
	LIST(struct one_version) field_versions; /* all that there ever were */
	LIST(struct one_preapproval) preapprovals;
	LIST(struct one_hold) holds;
	LIST(struct one_account) accounts;
	LIST(struct one_group) groups;
	LIST(struct one_member) members;
	LIST(struct one_token) tokens;
	LIST(uint64_t) releases; /* numbers */
	const struct blob_id *main_commits;
	size_t n_main;
	struct plan changes;
	/* of the last record, and sums */
	uint64_t seq, rules_version, release;
	struct sha256 digest;
	struct blob_id commit;
	int64_t created_at, first_pending, last_approval, last_start;
	struct db_force forced, down;
	struct sha256 removal;
};

#endif
