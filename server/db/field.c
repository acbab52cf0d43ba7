/* What acts ask for: definitions, part of the rules in force. */
#include "db/internal.h"

#include <string.h>

/* A line each, into the arena. */
static void choices_take(struct field_def *d, const char *text, size_t len, struct arena *a)
{
	const char **list;
	size_t n = len ? 1 : 0;

	for (size_t i = 0; i < len; i++)
		n += text[i] == '\n';
	list = arena_alloc(a, (n + 1) * sizeof(*list));
	for (size_t at = 0, i = 0; i < n; i++) {
		const char *end = memchr(text + at, '\n', len - at);
		size_t line = end ? (size_t)(end - (text + at)) : len - at;

		list[i] = arena_dupn(a, text + at, line);
		at += line + 1;
	}
	d->choices = list;
	d->n_choices = n;
}

DB_STMT(LOAD, "fields_load", "SELECT path, name, label, type, choices, acts, required, place, version, node FROM field WHERE site = ?");
enum err db_fields_load(struct db *db, const char *site, struct field_def **out, size_t *n, struct arena *a)
{
	struct field_def *list = NULL;
	size_t cap = 0;
	struct cursor c;

	*n = 0;
	cursor_open(&c, db, &LOAD, ARGS(a_name(site)));
	while (cursor_next(&c)) {
		struct field_def d = { .name = arena_dup(a, cursor_text(&c, 1)), .label = arena_dup(a, cursor_text(&c, 2)) };
		const bool typed = field_type_parse(&d.type, cursor_text(&c, 3));
		size_t len;
		const char *choices = cursor_bytes(&c, 4, &len);

		choices_take(&d, choices, len, a);
		d.acts = (unsigned)cursor_u64(&c, 5);
		d.required = cursor_u64(&c, 6) != 0;
		d.place = (unsigned)cursor_u64(&c, 7);
		d.version = cursor_u64(&c, 8);
		d.node = arena_dup(a, cursor_text(&c, 9));
		cursor_path(&c, 0, &d.path);
		if (!c.e && (!typed || !d.version || *n == FIELDS_OF_SITE || field_def_check(&d)))
			c.e = err_set(ERR_FAILED, "a field of the site %s is damaged: the row \"%s\" on %s of the table field. `drydockd fsck --repair` makes "
			    "the table again from the log", site, d.name, d.path.s);
		if (c.e)
			break;
		d.path = path_copy(d.path, a);
		list = mem_grow(list, &cap, *n + 1, sizeof(*list));
		list[(*n)++] = d;
	}
	*out = list;
	return cursor_close(&c);
}

DB_STMT(SET, "field_set", "INSERT INTO field (site, path_hash, name, path, label, type, choices, acts, required, place, version, node) "
	"VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON DUPLICATE KEY UPDATE label = VALUES(label), type = VALUES(type), choices = VALUES(choices), "
	"acts = VALUES(acts), required = VALUES(required), place = VALUES(place), version = VALUES(version), node = VALUES(node)");
enum err db_field_set(struct db *db, const char *site, const struct field_def *d)
{
	struct buf choices = BUF_INIT(FIELD_CHOICES_BYTES);
	struct sha256 hash;

	path_hash(d->path, &hash);
	field_choices_text(d, &choices);
	enum err e = db_run(db, &SET,
	    ARGS(a_name(site), a_fixed(&hash), a_name(d->name), a_path(d->path), a_name(d->label), a_name(field_type_name(d->type)),
	        a_bytes(buf_text(&choices), choices.len), a_u64(d->acts), a_u64(d->required), a_u64(d->place), a_u64(d->version), a_name(d->node)), NULL);
	buf_release(&choices);
	return e;
}

DB_STMT(REMOVE, "field_remove", "DELETE FROM field WHERE site = ? AND path_hash = ? AND name = ?");
enum err db_field_remove(struct db *db, const char *site, struct path path, const char *name)
{
	struct sha256 hash;

	path_hash(path, &hash);
	return db_run_found(db, &REMOVE, ARGS(a_name(site), a_fixed(&hash), a_name(name)), "there is no such field");
}
