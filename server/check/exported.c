/*
 * The export directory: is it at the head of the log, and does it hold exactly that tree? Its files are compared on a
 * thread beside the one that reads the log; what was seen is told in its turn.
 */
#include <stdlib.h>

#include "base/clock.h"
#include "base/failpoint.h"
#include "base/pool.h"
#include "check/internal.h"

struct difference {
	enum export_difference kind;
	char *path;
	const char *what; /* a constant */
};

struct exported {
	struct check *c;
	bool wrong;
	struct repo *repo; /* of the thread */
	struct pool_beside beside;
	struct difference *list;
	size_t n, cap;
	enum err err;
	char why[512];
};

static void note(void *arg, enum export_difference kind, const char *path, const char *what)
{
	struct exported *x = arg;

	x->list = mem_grow(x->list, &x->cap, x->n + 1, sizeof(*x->list));
	x->list[x->n++] = (struct difference){ kind, mem_dup(path), what };
}

static void compare(void *arg)
{
	struct exported *x = arg;

	x->err = export_compare(x->c->p->export, x->repo, x->c->o->deep, x->c->o->stop, note, x);
	snprintf(x->why, sizeof(x->why), "%s", x->err ? err_text() : "");
}

enum err check_export_begin(struct exported **out, struct check *c, const struct repo *repo)
{
	struct exported *x = mem_alloc(sizeof(*x));
	enum err e = c->p->export ? repo_open_like(&x->repo, repo) : ERR_OK;

	x->c = c;
	if (e) {
		free(x);
		return e;
	}
	if (x->repo)
		pool_beside_start(&x->beside, compare, x);
	*out = x;
	return ERR_OK;
}

/* A sync run holds it at a release, or a large act is answered and it follows. */
static bool moves(const struct check_place *p)
{
	return (p->export_held && atomic_load(p->export_held)) || (p->export_behind && atomic_load(p->export_behind));
}

/* The newest commit: the database's head, since its COMMIT is the decision. Zero: there is none. */
static enum err head_now(const struct check_place *p, struct blob_id *out)
{
	struct db_head head;
	enum err e = db_head_get(p->db, p->name, node_key_id(p->key), &head);

	*out = head.commit;
	return e;
}

/* With the writer's lock, log and export stand still: the export has the newest tree, unless a sync run holds it. */
static enum err check_at(struct exported *x, struct repo *repo)
{
	const struct check_place *p = x->c->p;
	struct blob_id head, at, want, is;
	char hex[COMMIT_HEX];

	enum err e = head_now(p, &head);

	export_at(p->export, &at);
	if (e || moves(p) || blob_id_zero(&at) || blob_id_zero(&head))
		return e;
	if (repo_site_tree(repo, &head, &want) || repo_site_tree(repo, &at, &is)) {
		found(x->c, FINDING_OBJECT_MISSING, commit_hex(&at, hex), "the commit that the export directory stands at cannot be read: %s", err_text());
	} else if (!blob_id_equal(&want, &is)) {
		x->wrong = true;
		found(x->c, FINDING_EXPORT_BEHIND, export_path(p->export), "it stands at commit %s, whose files are not those of the newest record", commit_hex(&at, hex));
	}
	return ERR_OK;
}

static int64_t when_put(void *arg, struct path path)
{
	const struct check *c = arg;
	const struct replay_file *f = replay_file(c->replay, path);

	return f && f->at ? f->at : clock_wall();
}

static enum err repair(struct check *c, struct repo *repo)
{
	struct blob_id head;
	enum err e = head_now(c->p, &head);

	if (e || moves(c->p) || blob_id_zero(&head))
		return e;
	e = export_repair(c->p->export, repo, &head, when_put, c);
	FAILPOINT_OR(e, mend_export);
	c->mended |= !e;
	return e;
}

static void tell_differences(struct exported *x)
{
	static const enum finding_id IDS[] = {
		[EXPORT_OTHER] = FINDING_EXPORT_DIFFERS, [EXPORT_ALIEN] = FINDING_EXPORT_FOREIGN, [EXPORT_IN_DOUBT] = FINDING_EXPORT_UNSETTLED,
	};

	for (size_t i = 0; i < x->n; i++)
		found(x->c, IDS[x->list[i].kind], x->list[i].path, "%s", x->list[i].what);
	x->wrong |= x->n > 0;
}

static enum err tell_and_mend(struct exported *x, struct repo *repo)
{
	struct check *c = x->c;
	enum err e;

	if (c->p->export_missing)
		found(c, FINDING_EXPORT_BEHIND, c->p->dir, "it has no export directory");
	if (!c->p->export)
		return ERR_OK;
	hold(c->p);
	e = check_at(x, repo);
	let_go(c->p);
	if (e)
		return e;
	tell_differences(x);
	if (x->err) {
		found(c, FINDING_EXPORT_DIFFERS, export_path(c->p->export), "it cannot be compared: %s", x->why);
		return ERR_OK;
	}
	if (!x->wrong || !c->mend || c->log_damaged)
		return ERR_OK;
	hold(c->p);
	e = repair(c, repo);
	let_go(c->p);
	return e;
}

enum err check_export_end(struct exported *x, struct repo *repo, enum err before)
{
	enum err e = before;

	pool_beside_wait(&x->beside);
	if (!e)
		e = tell_and_mend(x, repo);
	for (size_t i = 0; i < x->n; i++)
		free(x->list[i].path);
	free(x->list);
	repo_close(x->repo);
	free(x);
	return e;
}
