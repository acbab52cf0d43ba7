/* One record: the immutable statement of one act, and its files, a page of them at a time. */
#include <inttypes.h>
#include <string.h>

#include "base/clock.h"
#include "base/utf8.h"
#include "view/show.h"
#include "web/asked.h"
#include "web/history.h"
#include "web/pages/pages.h"

#define PAGE 200

/* Fields in which a record lists paths or rules beyond the files: for those only who see the whole of it. */
static bool field_for_all(const char *name)
{
	return strcmp(name, "rules") != 0 && strcmp(name, "superseded") != 0;
}

static void value_text(struct buf *b, const json_t *v)
{
	size_t i;
	json_t *one;

	if (json_is_string(v)) {
		utf8_visible(b, json_string_value(v), json_string_length(v), true);
	} else if (json_is_integer(v)) {
		buf_fmt(b, "%lld", (long long)json_integer_value(v));
	} else if (json_is_boolean(v)) {
		buf_str(b, json_is_true(v) ? "yes" : "no");
	} else if (json_is_array(v)) {
		json_array_foreach(v, i, one) {
			buf_str(b, i ? ", " : "");
			value_text(b, one);
		}
	}
}

struct asks {
	struct req *r;
	struct view_list *list;
};

static void put_asked(void *arg, const struct asked_then *f)
{
	struct asks *l = arg;
	struct view_map *o = view_list_add(l->list);
	struct buf b = BUF_INIT(4 * FIELD_TEXT_LIMIT);

	if (f->value)
		value_text(&b, f->value);
	view_set(o, VIEW_label, f->label ? f->label : f->name);
	view_set(o, VIEW_value, f->value ? arena_dup(l->r->arena, buf_text(&b)) : NULL);
	view_set(o, VIEW_href, f->label ? page_record_href(l->r, f->version) : NULL);
	view_set(o, VIEW_sentence, arena_printf(l->r->arena, f->label ? "asked on %s since record %" PRIu64 :
	    "asked on %s by record %" PRIu64 ", which is not there or says something else: an admin finds out with drydockd fsck", f->path, f->version));
	buf_release(&b);
}

/* What people filled in, which stands among what DryDock says. */
static bool is_asked(const struct record *rec, const char *name)
{
	return strcmp(name, RECORD_FIELD_ASKED) == 0 || (field_act_parse(rec->act) && field_name_valid(name));
}

static void put_fields(struct req *r, struct view_map *m, const struct history_item *item)
{
	struct view_list *list = view_set_list(m, VIEW_fields);
	const char *name;
	json_t *v;

	json_object_foreach(item->record.fields, name, v) {
		if ((!item->whole && !field_for_all(name)) || is_asked(&item->record, name))
			continue;
		struct buf b = BUF_INIT(256u << 10);
		struct view_map *f = view_list_add(list);
		value_text(&b, v);
		view_set(f, VIEW_name, arena_dup(r->arena, name));
		view_set(f, VIEW_value, arena_dup(r->arena, buf_text(&b)));
		buf_release(&b);
	}
	view_set_bool(m, VIEW_has_fields, view_list_count(list) > 0);
}

struct files {
	struct req *r;
	struct view_list *list;
};

static bool put_file(void *arg, const struct record_file *f)
{
	struct files *l = arg;
	struct view_map *m = view_list_add(l->list);
	const struct path p = path_copy(f->path, l->r->arena);

	view_set(m, VIEW_href, page_href(l->r, p, false));
	view_set(m, VIEW_path, p.s);
	show_print(m, &f->print.sha256);
	show_md5(m, VIEW_md5, &f->print.md5);
	view_set(m, VIEW_size, arena_printf(l->r->arena, "%s%s", size_text(l->r->arena, f->print.size), f->print.exec ? ", executable" : ""));
	view_set(m, VIEW_replaces, f->replaces ? arena_printf(l->r->arena, "%" PRIu64, f->replaces) : NULL);
	view_set(m, VIEW_replaces_href, f->replaces ? page_record_href(l->r, f->replaces) : NULL);
	return true;
}

/* What the person was shown before he acted. */
static const char *shown_words(struct req *r, const struct history_item *item)
{
	const char *shown = item->record.shown;

	if (!*shown)
		return NULL;
	if (strcmp(shown, "as-staged") == 0)
		return "nothing: “as it is staged”";
	if (item->n_files == 1 && item->row->files_count == 1) {
		char hex[SHA256_HEX];
		hex_of(hex, item->files[0].print.sha256.b, sizeof item->files[0].print.sha256.b);
		if (strcmp(hex, shown) == 0)
			return "this version of the file";
	}
	return arena_printf(r->arena, "the list with the digest %.12s", shown);
}

/* A neighbour that is not for him is not there. */
static enum err neighbour(struct req *r, uint64_t seq, struct view_map *m, enum view_name name)
{
	struct history_item item;
	enum err e = seq ? history_get(r, seq, &item) : ERR_NOT_FOUND;

	if (!e) {
		view_set(m, name, page_record_href(r, seq));
		json_decref(item.record.fields);
	}
	return e == ERR_NOT_FOUND ? ERR_OK : e;
}

static const char *actor_name(struct req *r, const struct record *rec)
{
	if (rec->actor.provider && strcmp(rec->actor.provider, "system") == 0)
		return "the system";
	return rec->actor.name ? arena_dup(r->arena, rec->actor.name) : "nobody";
}

static void put_facts(struct req *r, struct view_map *m, const struct history_item *item)
{
	const struct record *rec = &item->record;
	struct buf groups = BUF_INIT(1u << 20);
	char op[UUID_TEXT];

	view_set(m, VIEW_actor, actor_name(r, rec));
	view_set(m, VIEW_actor_id, arena_dup(r->arena, item->row->actor));
	show_time(m, VIEW_at, item->row->at, clock_wall());
	for (size_t i = 0; i < rec->actor.n_groups; i++)
		buf_fmt(&groups, "%s%s", i ? ", " : "", rec->actor.groups[i]);
	view_set(m, VIEW_groups_text, arena_dup(r->arena, buf_text(&groups)));
	buf_release(&groups);
	if (rec->rule.principal) {
		struct page_query q = { BUF_INIT(0) };
		page_query_add(&q, "path", rec->rule.path.s);
		view_set(m, VIEW_rule, arena_printf(r->arena, "%s on %s for %s", role_name(rec->rule.role), rec->rule.path.s, rec->rule.principal));
		view_set(m, VIEW_rule_href, addr(r, "/rules", NULL, page_query_end(r, &q)));
	}
	view_set(m, VIEW_shown_text, shown_words(r, item));
	view_set(m, VIEW_meaning, arena_dup(r->arena, rec->meaning));
	view_set(m, VIEW_note, arena_dup(r->arena, item->row->note));
	uuid_text(&item->row->op, op);
	view_set(m, VIEW_op, arena_dup(r->arena, op));
	view_set(m, VIEW_node, arena_dup(r->arena, item->row->node));
	show_hex(m, VIEW_policy, rec->policy.b, sizeof rec->policy.b);
	if (!sha256_zero(&rec->prev))
		show_hex(m, VIEW_prev, rec->prev.b, sizeof rec->prev.b);
	else
		view_set(m, VIEW_prev, "none: it is the first");
	show_hex(m, VIEW_digest, item->row->sha256.b, sizeof item->row->sha256.b);
	show_hex(m, VIEW_commit, item->row->commit.b, sizeof item->row->commit.b);
	view_set(m, VIEW_signer, history_signer(r, item->row));
}

static enum err raw(struct req *r, const struct history_item *item)
{
	struct buf b = BUF_INIT(item->row->body_len + 1);

	if (req_role_on(r, path_root()) != ROLE_ADMIN)
		return err_set(ERR_DENIED, "The stored bytes of a record are for admins of the whole site.");
	buf_add(&b, item->row->body, item->row->body_len);
	return reply_bytes(r, 200, "application/json", &b, arena_printf(r->arena, "record-%s-%" PRIu64 ".json", r->site->name, item->row->seq));
}

static enum err show(struct req *r, const struct history_item *item, const char *after)
{
	const uint64_t seq = item->row->seq;
	struct view_map *m = view_map_new(r->arena);
	struct page_deed deed;
	const char *next = NULL;
	enum err e = ERR_OK;

	page_deed(r, item, &deed);
	view_set_int(m, VIEW_seq, (int64_t)seq);
	view_set(m, VIEW_sentence, arena_printf(r->arena, "%s %s%s%s.", actor_name(r, &item->record), deed.verb, *deed.what ? " " : "", deed.what));
	put_facts(r, m, item);
	struct asks asks = { r, view_set_list(m, VIEW_asks) };
	e = asked_then(r, item, put_asked, &asks);
	if (e)
		return e;
	view_set_bool(m, VIEW_asked, view_list_count(asks.list) > 0);
	put_fields(r, m, item);
	view_set_bool(m, VIEW_has_files, item->row->files_count > 0);
	if (item->row->files_count) {
		struct files l = { r, view_set_list(m, VIEW_files) };
		e = history_files(r, seq, after, PAGE, put_file, &l, &next);
		if (item->whole)
			view_set_int(m, VIEW_count, (int64_t)item->row->files_count);
		view_set(m, VIEW_shown, count_text(r->arena, view_list_count(l.list), "file"));
		view_set(m, VIEW_first_href, after ? page_record_href(r, seq) : NULL);
		if (next) {
			struct page_query q = { BUF_INIT(0) };
			page_query_add(&q, "after", next);
			view_set(m, VIEW_next_href, arena_printf(r->arena, "%s?%s", page_record_href(r, seq), page_query_end(r, &q)));
		}
	}
	if (!e)
		e = neighbour(r, seq - 1, m, VIEW_prev_href);
	if (!e)
		e = neighbour(r, seq + 1, m, VIEW_next_record_href);
	if (e)
		return e;
	if (req_role_on(r, path_root()) == ROLE_ADMIN)
		view_set(m, VIEW_raw_href, arena_printf(r->arena, "%s?format=raw", page_record_href(r, seq)));
	else
		view_set(m, VIEW_why_href, page_why(r, path_root()));
	return reply_page(r, 200, "record", arena_printf(r->arena, "Record %" PRIu64, seq), m);
}

/* GET /s/:site/record/:seq?after=&format=raw */
enum err page_record(struct req *r)
{
	struct history_item item;
	const char *format = req_query(r, "format");
	uint64_t seq;
	enum err e = req_segment_number(r, "seq", &seq);

	if (!e)
		e = history_get(r, seq, &item);
	if (e)
		return e;
	e = format && strcmp(format, "raw") == 0 ? raw(r, &item) : show(r, &item, req_query(r, "after"));
	json_decref(item.record.fields);
	return e;
}
