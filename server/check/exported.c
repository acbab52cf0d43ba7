/* The export directory: is it at the head of the log, and does it hold exactly that tree? */
#include "base/clock.h"
#include "check/internal.h"

struct exported {
	struct check *c;
	bool wrong;
};

static void differs(void *arg, enum export_difference kind, const char *path, const char *what)
{
	static const enum finding_id IDS[] = {
		[EXPORT_OTHER] = FINDING_EXPORT_DIFFERS, [EXPORT_ALIEN] = FINDING_EXPORT_FOREIGN, [EXPORT_IN_DOUBT] = FINDING_EXPORT_UNSETTLED,
	};
	struct exported *x = arg;

	x->wrong = true;
	found(x->c, IDS[kind], path, "%s", what);
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
	c->mended |= !e;
	return e;
}

enum err check_export(struct check *c, struct repo *repo)
{
	struct exported x = { .c = c };
	enum err e;

	if (c->p->export_missing)
		found(c, FINDING_EXPORT_BEHIND, c->p->dir, "it has no export directory");
	if (!c->p->export)
		return ERR_OK;
	hold(c->p);
	e = check_at(&x, repo);
	let_go(c->p);
	if (e)
		return e;
	e = export_compare(c->p->export, repo, c->o->deep, c->o->stop, differs, &x);
	if (e) {
		found(c, FINDING_EXPORT_DIFFERS, export_path(c->p->export), "it cannot be compared: %s", err_text());
		return ERR_OK;
	}
	if (!x.wrong || !c->mend || c->log_damaged)
		return ERR_OK;
	hold(c->p);
	e = repair(c, repo);
	let_go(c->p);
	return e;
}
