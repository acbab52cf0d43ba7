#include "web/pages/page.h"

#include <string.h>

#include "base/clock.h"

const char *page_user(struct req *r, const char *principal)
{
	if (strncmp(principal, "own:", 4) == 0)
		return arena_dup(r->arena, principal + 4);
	if (strcmp(principal, "system:drydock") == 0)
		return "DryDock";
	return arena_dup(r->arena, principal);
}

const char *page_href(struct req *r, struct path path, bool is_dir)
{
	return addr(r, is_dir ? "/tree" : "/file", &path, NULL);
}

const char *page_record_href(struct req *r, uint64_t seq)
{
	return addr(r, arena_printf(r->arena, "/record/%llu", (unsigned long long)seq), NULL, NULL);
}

void page_crumbs(struct req *r, struct view_map *m, struct path path)
{
	struct view_list *crumbs = view_set_list(m, VIEW_crumbs);
	struct view_map *c;

	if (path_is_root(path)) {
		view_set(m, VIEW_leaf, "/");
		return;
	}
	c = view_list_add(crumbs);
	view_set(c, VIEW_name, r->site->name);
	view_set(c, VIEW_href, page_href(r, path_root(), true));
	for (size_t i = 1; i < path.len; i++) {
		size_t start = i;
		struct path dir;

		while (i < path.len && path.s[i] != '/')
			i++;
		if (i == path.len)
			break;
		dir = (struct path){ arena_dupn(r->arena, path.s, i), i };
		c = view_list_add(crumbs);
		view_set(c, VIEW_name, arena_dupn(r->arena, path.s + start, i - start));
		view_set(c, VIEW_href, page_href(r, dir, true));
	}
	view_set(m, VIEW_leaf, path_name(path));
}

void page_op(struct req *r, struct view_map *m, enum view_name name)
{
	struct uuid id;
	char *text = arena_alloc(r->arena, UUID_TEXT);

	uuid_new(&id);
	uuid_text(&id, text);
	view_set(m, name, text);
}

const char *page_why(struct req *r, struct path path)
{
	struct buf q = BUF_INIT(3 * PATH_LIMIT + 16);
	const char *out;

	buf_str(&q, "path=");
	percent_encode(&q, path.s, false);
	out = addr(r, "/rules/explain", NULL, buf_text(&q));
	buf_release(&q);
	return out;
}

/* The deepest directory above all files that are shown. */
static struct path common_dir(struct req *r, const struct record_file *files, size_t n)
{
	size_t len = 0;

	if (n == 0)
		return path_root();
	for (size_t i = 0; i < files[0].path.len; i++) {
		for (size_t k = 1; k < n; k++)
			if (i >= files[k].path.len || files[k].path.s[i] != files[0].path.s[i])
				goto out;
		if (files[0].path.s[i] == '/')
			len = i;
	}
out:
	return len ? (struct path){ arena_dupn(r->arena, files[0].path.s, len), len } : path_root();
}

/* A text of the record's fields, as far as it is one. */
static const char *field_text(const struct record *rec, const char *name)
{
	bool bad = false;
	const char *s = rec->fields ? json_get_str(rec->fields, name, &bad) : NULL;

	return bad || !s ? "" : s;
}

const char *page_what(struct req *r, const struct history_item *item)
{
	const struct db_record_row *row = item->row;
	struct path dir;

	if (row->files_count == 0) {
		const char *path = field_text(&item->record, "path"), *principal = field_text(&item->record, "principal");

		if (strcmp(row->act, "rule") == 0)
			return arena_printf(r->arena, "for %s on %s", principal, path);
		return *path ? arena_printf(r->arena, "on %s", path) : "";
	}
	if (item->n_files == 1 && !item->more_files)
		return arena_dupn(r->arena, item->files[0].path.s, item->files[0].path.len);
	dir = common_dir(r, item->files, item->n_files);
	if (item->whole && item->more_files)
		return arena_printf(r->arena, "%s below %s%s", count_text(r->arena, row->files_count, "file"), item->n_files ? dir.s : "/", dir.len > 1 ? "/" : "");
	if (item->more_files)
		return arena_printf(r->arena, "more than %zu files below %s%s", item->n_files, dir.s, dir.len > 1 ? "/" : "");
	return arena_printf(r->arena, "%s below %s%s", count_text(r->arena, item->n_files, "file"), dir.s, dir.len > 1 ? "/" : "");
}

enum err page_act(struct req *r, struct view_list *items, const struct history_item *item, const struct path *about)
{
	const struct db_record_row *row = item->row;
	struct view_map *m = view_list_add(items);
	bool of_about = false;

	view_set_int(m, VIEW_seq, (int64_t)row->seq);
	view_set(m, VIEW_href, page_record_href(r, row->seq));
	view_set(m, VIEW_act, arena_dup(r->arena, row->act));
	view_set(m, VIEW_verb, history_verb(row->act));
	view_set(m, VIEW_user, page_user(r, row->actor));
	show_time(m, VIEW_at, row->at, clock_wall());
	if (*row->note)
		view_set(m, VIEW_note, arena_dup(r->arena, row->note));
	for (size_t i = 0; about && i < item->n_files; i++)
		if (path_equal(item->files[i].path, *about)) {
			show_print(view_set_map(m, VIEW_print), &item->files[i].print.sha256);
			of_about = true;
		}
	if (!of_about || item->row->files_count > 1)
		view_set(m, VIEW_what, page_what(r, item));
	if (!of_about && item->n_files > 1) {
		struct view_list *files = view_set_list(m, VIEW_files);

		view_set_bool(m, VIEW_has_files, true);
		for (size_t i = 0; i < item->n_files; i++) {
			struct view_map *f = view_list_add(files);
			const struct path p = path_copy(item->files[i].path, r->arena);

			view_set(f, VIEW_path, p.s);
			view_set(f, VIEW_href, page_href(r, p, false));
			show_print(f, &item->files[i].print.sha256);
		}
		view_set_bool(m, VIEW_more, item->more_files);
	}
	if (item->record.rule.principal)
		view_set(m, VIEW_rule, arena_printf(r->arena, "%s on %s for %s", role_name(item->record.rule.role),
		    item->record.rule.path.s, item->record.rule.principal));
	return ERR_OK;
}

enum err page_done(struct req *r, const char *back, uint64_t seq)
{
	return reply_redirect(r, arena_printf(r->arena, "%s%cdone=%llu", back, strchr(back, '?') ? '&' : '?', (unsigned long long)seq));
}

void page_notice(struct req *r, struct view_map *m)
{
	uint64_t seq;

	if (req_query(r, "done") && req_number(r, "done", 1, INT64_MAX, 1, &seq) == ERR_OK)
		view_set(m, VIEW_notice, arena_printf(r->arena, "Done. It is kept as record %llu.", (unsigned long long)seq));
}
