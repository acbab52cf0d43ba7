/* The approved tree of the newest commit against what the records add up to, and each record's step from the one before. */
#include <string.h>

#include "check/internal.h"
#include "core/state.h"

struct approved {
	struct check *c;
	const struct replay_file *const *files;
	size_t n, at;
};

static bool stands(const struct replay_file *f)
{
	return f->approval == APPROVAL_SIGNED || f->approval == APPROVAL_PREAPPROVED;
}

/* Files that come before path and ought to have come. */
static void missing_before(struct approved *a, const struct path *path)
{
	for (; a->at < a->n; a->at++) {
		const struct replay_file *f = a->files[a->at];

		if (path && path_compare(f->path, *path) >= 0)
			break;
		if (stands(f))
			found(a->c, FINDING_APPROVED_TREE, f->path.s, "record %llu approved it, and it is not in the approved tree", (unsigned long long)f->seq);
	}
}

static enum err one(void *arg, struct path path, const struct blob_id *blob, bool exec)
{
	struct approved *a = arg;
	const struct replay_file *f;

	a->c->out->files++;
	missing_before(a, &path);
	f = a->at < a->n ? a->files[a->at] : NULL;
	if (!f || !path_equal(f->path, path) || !stands(f)) {
		found(a->c, FINDING_APPROVED_TREE, path.s, "it is in the approved tree, and no record approved it");
	} else if (!blob_id_equal(&f->blob, blob) || f->exec != exec) {
		found(a->c, FINDING_APPROVED_TREE, path.s, "it is in the approved tree with other bytes or another mode than record %llu approved",
		    (unsigned long long)f->seq);
	}
	if (f && path_equal(f->path, path))
		a->at++;
	return stopped(a->c) ? err_set(ERR_BUSY, "the check was ended before it was done") : ERR_OK;
}

enum err check_approved(struct check *c, struct repo *repo, const struct blob_id *head)
{
	struct approved a = { .c = c };
	char hex[COMMIT_HEX];
	enum err e;

	a.files = replay_files(c->replay, &a.n);
	e = repo_walk(repo, head, one, &a);
	if (e == ERR_BUSY)
		return e;
	if (e)
		found(c, FINDING_OBJECT_DAMAGED, commit_hex(head, hex), "its approved tree cannot be read: %s", err_text());
	else
		missing_before(&a, NULL);
	return ERR_OK;
}

enum err check_step(struct check *c, struct repo *repo, const struct log_entry *e, const struct blob_id *before)
{
	const struct plan *said = replay_changes(c->replay);
	struct plan is;
	char subject[128], hex[COMMIT_HEX];
	bool same;
	enum err err;

	snprintf(subject, sizeof(subject), "record %llu, commit %s", (unsigned long long)e->seq, commit_hex(&e->commit, hex));
	plan_init(&is);
	err = repo_plan_trees(repo, before, &e->parts.site, &is);
	if (err) {
		found(c, err == ERR_NOT_FOUND ? FINDING_OBJECT_MISSING : FINDING_OBJECT_DAMAGED, subject, "its approved tree cannot be read: %s", err_text());
		plan_release(&is);
		return ERR_OK;
	}
	same = is.n == said->n;
	for (size_t i = 0; i < is.n && same; i++)
		same = is.items[i].kind == said->items[i].kind && path_equal(is.items[i].path, said->items[i].path) &&
		    (is.items[i].kind == PLAN_REMOVE || (blob_id_equal(&is.items[i].blob, &said->items[i].blob) && is.items[i].exec == said->items[i].exec));
	if (!same)
		found(c, FINDING_LOG_TREE, subject, "its approved tree differs from the one before it in %zu files, and the record names %zu changes", is.n, said->n);
	plan_release(&is);
	return ERR_OK;
}
