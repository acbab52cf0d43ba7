/*
 * history: records as one viewer may see them: for pages and API alike, so that they cannot differ.
 *
 * A record shows each viewer his own paths, without a total of the rest. A record about files of which he sees none does
 * not exist for him; a record about rules or pre-approvals is shown where he may view its path; all others (genesis,
 * release, force) where he may view "/".
 */
#ifndef DRYDOCK_WEB_HISTORY_H
#define DRYDOCK_WEB_HISTORY_H

#include "web/web.h"

struct history_query {
	struct path path; /* "/" and recursive: the whole site */
	bool whole_site; /* path is not asked for */
	bool is_dir;
	const char *actor, *act; /* NULL: any */
	int64_t since, until; /* 0: any; microseconds */
	uint64_t before; /* cursor: records below this number; 0: from the newest */
	unsigned limit; /* records to show, 1 to 500 */
};

struct history_item {
	const struct db_record_row *row;
	struct record record; /* decoded; strings live as long as the callback */
	const struct record_file *files; /* the first visible ones, at or below the asked path: at most HISTORY_FILES */
	size_t n_files;
	bool more_files; /* there are more visible ones: ask for the record */
	bool whole; /* he sees every path of it: row->files_count may be shown */
};
#define HISTORY_FILES 8

/* fn for each visible record, newest first; *next is the cursor of the next page or 0. */
enum err history_list(struct req *r, const struct history_query *q, enum err (*fn)(void *arg, const struct history_item *item), void *arg, uint64_t *next) MUST_CHECK;
/* One record: ERR_NOT_FOUND if it is not for him. Its visible files from history_files. The caller drops
 * out->record.fields with json_decref. */
/* The fingerprint of the node's key that signed it, as ssh-keygen -l prints it; NULL: of another node. In the request's arena. */
const char *history_signer(struct req *r, const struct db_record_row *row);
enum err history_get(struct req *r, uint64_t seq, struct history_item *out) MUST_CHECK;
/* Visible files of a record after a path (NULL: from the start); *next the cursor (in the arena) or NULL. */
enum err history_files(struct req *r, uint64_t seq, const char *after, unsigned limit,
    bool (*fn)(void *arg, const struct record_file *f), void *arg, const char **next) MUST_CHECK;
/* "signed", "reviewed", ...: the act in the past tense, for people. */
const char *history_verb(const char *act);

#endif
