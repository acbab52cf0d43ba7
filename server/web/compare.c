#include "web/compare.h"

#include <string.h>

static bool approved_stands(const struct catalog_entry *e)
{
	return e->has_approved && (e->approved.approval == APPROVAL_SIGNED || e->approved.approval == APPROVAL_PREAPPROVED);
}

static enum err load_approved(struct req *r, struct comparison *c)
{
	struct repo *repo;
	enum err e;

	c->approved_bytes = BUF_INIT(COMPARE_LIMIT);
	e = tools_repo(r->tools, r->site, &repo);
	if (!e)
		e = repo_blob_read(repo, &c->entry.approved.blob, &c->approved_bytes);
	return e;
}

static enum err load_staged(struct req *r, struct comparison *c)
{
	enum err e;

	c->staged_bytes = BUF_INIT(COMPARE_LIMIT);
	e = door_read_all(catalog_door(r->site->catalog), c->entry.path, &c->staged_bytes, &c->staged);
	if (e == ERR_NOT_FOUND) {
		/* gone since the look at it: then there is no staged side */
		c->has_staged = false;
		return ERR_OK;
	}
	return e;
}

enum err compare_load(struct req *r, struct path path, struct comparison *c)
{
	enum err e;

	memset(c, 0, sizeof *c);
	e = catalog_refresh_file(r->site->catalog, path);
	if (!e || e == ERR_NOT_FOUND)
		e = catalog_get(r->site->catalog, path, &c->entry, r->arena);
	if (e)
		return e;
	if (c->entry.is_dir)
		return err_set(ERR_INPUT, "%s is a directory: compare its files one by one.", path.s);
	c->has_approved = approved_stands(&c->entry);
	c->has_staged = c->entry.staged && c->entry.problem == PROBLEM_NONE;
	c->staged = c->entry.print;
	c->too_big = (c->has_approved && c->entry.approved.print.size > COMPARE_LIMIT) ||
	    (c->has_staged && c->entry.print.size > COMPARE_LIMIT);
	if (c->too_big)
		return ERR_OK;
	if (c->has_approved)
		e = load_approved(r, c);
	if (!e && c->has_staged)
		e = load_staged(r, c);
	if (e == ERR_TOO_BIG) {
		c->too_big = true;
		e = ERR_OK;
	}
	if (e)
		compare_release(c);
	return e;
}

void compare_release(struct comparison *c)
{
	buf_release(&c->approved_bytes);
	buf_release(&c->staged_bytes);
}
