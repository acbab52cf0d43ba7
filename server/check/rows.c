/* The database's rows against those that the records say. */
#include <stdlib.h>
#include <string.h>

#include "base/failpoint.h"
#include "base/utf8.h"
#include "check/internal.h"

#define SHOWN 80 /* bytes of a value in a sentence */

struct kept {
	enum db_table_id id;
	uint64_t seq;
	bool seen;
	uint64_t hash;
	struct db_value row[];
};

struct sum { uint64_t a, b; };

struct rows {
	struct check *c;
	uint8_t key[16]; /* of this run: nobody can make rows whose digests add up */
	struct sum *sums; /* by seq */
	uint64_t n_records;
	struct arena *arena;
	struct kept **slots; /* open addressing */
	size_t n_slots, n_kept;
	bool naming; /* the second time */
	struct wrong { /* a row of a table that can be mended; the rows are in the arena */
		enum db_table_id id;
		const struct db_value *is, *ought; /* NULL: there is none, there ought to be none */
		bool left; /* a later record may have written it */
	} *wrong;
	size_t n_wrong, wrong_cap;
	bool excused; /* a row differs in what cannot be known */
	struct buf text; /* of a row being digested */
	enum db_table_id reading;
};

struct rows *rows_new(struct check *c, uint64_t n_records)
{
	struct rows *r = mem_alloc(sizeof(*r));

	r->c = c;
	r->n_records = n_records;
	r->sums = mem_array(n_records + 1, sizeof(*r->sums));
	r->arena = arena_new();
	r->n_slots = 1024;
	r->slots = mem_array(r->n_slots, sizeof(struct kept *));
	r->text = BUF_INIT((size_t)64 << 20);
	random_bytes(r->key, sizeof(r->key));
	return r;
}

void rows_free(struct rows *r)
{
	if (!r)
		return;
	free(r->sums);
	free(r->slots);
	free(r->wrong);
	arena_free(r->arena);
	buf_release(&r->text);
	free(r);
}

static void digest(struct rows *r, enum db_table_id id, const struct db_value *row, unsigned n, struct sha256 *out)
{
	buf_reset(&r->text);
	buf_add(&r->text, r->key, sizeof(r->key));
	buf_char(&r->text, (char)id);
	for (unsigned i = 0; i < n; i++) {
		uint64_t head[2] = { row[i].number, row[i].number ? row[i].u : row[i].n };

		buf_add(&r->text, head, sizeof(head));
		if (!row[i].number && row[i].n)
			buf_add(&r->text, row[i].p, row[i].n);
	}
	sha256_of(out, r->text.p, r->text.len);
}

/* --- rows that are kept ---------------------------------------------------------------------------------------------- */

static bool same(const struct db_value *a, const struct db_value *b)
{
	return a->number == b->number && (a->number ? a->u == b->u : a->n == b->n && (a->n == 0 || memcmp(a->p, b->p, a->n) == 0));
}

static uint64_t key_hash(struct rows *r, enum db_table_id id, const struct db_value *row)
{
	struct sha256 d;
	uint64_t h;

	digest(r, id, row, db_tables[id].n_key, &d);
	memcpy(&h, d.b, sizeof(h));
	return h;
}

static struct kept **slot_of(struct kept **slots, size_t n, uint64_t hash, enum db_table_id id, const struct db_value *row)
{
	size_t at = (size_t)hash & (n - 1);

	for (; slots[at]; at = (at + 1) & (n - 1)) {
		bool hit = slots[at]->hash == hash && slots[at]->id == id;

		for (unsigned i = 0; hit && i < db_tables[id].n_key; i++)
			hit = same(&slots[at]->row[i], &row[i]);
		if (hit)
			break;
	}
	return &slots[at];
}

static void copy_row(struct rows *r, struct db_value *to, const struct db_value *row, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		to[i] = row[i];
		if (!row[i].number)
			to[i].p = arena_dupn(r->arena, row[i].p, row[i].n);
	}
}

static void keep(struct rows *r, enum db_table_id id, uint64_t seq, const struct db_value *row)
{
	const unsigned n = db_table_columns(id);
	struct kept *k = arena_alloc(r->arena, sizeof(*k) + n * sizeof(*k->row));

	*k = (struct kept){ .id = id, .seq = seq, .hash = key_hash(r, id, row) };
	copy_row(r, k->row, row, n);
	if (2 * ++r->n_kept > r->n_slots) {
		size_t more = r->n_slots * 2;
		struct kept **slots = mem_array(more, sizeof(*slots));

		for (size_t i = 0; i < r->n_slots; i++)
			if (r->slots[i])
				*slot_of(slots, more, r->slots[i]->hash, r->slots[i]->id, r->slots[i]->row) = r->slots[i];
		free(r->slots);
		r->slots = slots;
		r->n_slots = more;
	}
	*slot_of(r->slots, r->n_slots, k->hash, id, k->row) = k;
}

void rows_expect(void *arg, enum db_table_id id, uint64_t seq, const struct db_value *row)
{
	struct rows *r = arg;
	struct sha256 d;
	struct sum s;

	if (db_tables[id].kind == TABLE_DERIVED || r->naming) {
		keep(r, id, seq, row);
		return;
	}
	digest(r, id, row, db_table_columns(id), &d);
	memcpy(&s, d.b, sizeof(s));
	r->sums[seq].a += s.a;
	r->sums[seq].b += s.b;
}

/* --- words ----------------------------------------------------------------------------------------------------------- */

static void put_value(struct buf *out, const struct db_value *v)
{
	if (v->number) {
		buf_fmt(out, "%lld", (long long)v->u);
	} else if (v->n <= SHOWN && memchr(v->p, '\0', v->n) == NULL && utf8_clean(v->p, v->n, false)) {
		buf_char(out, '"');
		buf_add(out, v->p, v->n);
		buf_char(out, '"');
	} else {
		buf_hex(out, v->p, v->n < SHOWN / 2 ? v->n : SHOWN / 2);
		if (v->n > SHOWN / 2)
			buf_fmt(out, "... (%zu bytes)", v->n);
	}
}

/* "record_file: seq 3, ord 0 (/index.html)" */
static void put_row(struct buf *out, enum db_table_id id, const struct db_value *row)
{
	const struct db_table *t = &db_tables[id];
	char name[64];
	bool first = true;

	buf_fmt(out, "%s:", t->name);
	for (unsigned i = 0; i < db_table_columns(id); i++) {
		db_table_column(id, i, name);
		if (strcmp(name, "site") == 0 || strcmp(name, "node") == 0 || (i >= t->n_key && strcmp(name, "path") != 0))
			continue;
		buf_fmt(out, "%s %s ", first ? "" : ",", name);
		put_value(out, &row[i]);
		first = false;
	}
}

static void name_row(struct rows *r, enum finding_id id, enum db_table_id table, const struct db_value *row, const char *what)
{
	struct buf subject = BUF_INIT(16384);

	put_row(&subject, table, row);
	found(r->c, id, buf_text(&subject), "%s", what);
	buf_release(&subject);
}

#define RELEASE_MAIN 6 /* column main_commit */
#define FILE_STATE_PATH 2 /* column path */

/* is, ought: as in struct wrong. ought is kept already. */
static void note_wrong(struct rows *r, enum db_table_id id, const struct db_value *is, const struct db_value *ought)
{
	const unsigned n = db_table_columns(id);
	struct db_value *copy = NULL;

	if (!r->c->mend || !db_table_mended(id))
		return;
	if (is) {
		copy = arena_alloc(r->arena, n * sizeof(*copy));
		copy_row(r, copy, is, n);
	}
	r->wrong = mem_grow(r->wrong, &r->wrong_cap, r->n_wrong + 1, sizeof(*r->wrong));
	r->wrong[r->n_wrong++] = (struct wrong){ id, copy, ought, false };
}

static bool is_zero(const struct db_value *v)
{
	static const struct blob_id none;

	return v->n == sizeof(none) && memcmp(v->p, &none, sizeof(none)) == 0;
}

static void name_difference(struct rows *r, const struct kept *k, const struct db_value *row)
{
	bool recorded = db_tables[k->id].kind == TABLE_RECORDED;
	struct buf what = BUF_INIT(2000);
	char name[64];
	unsigned n = 0;

	for (unsigned i = 0; i < db_table_columns(k->id); i++) {
		if (same(&k->row[i], &row[i]) || (!recorded && db_table_loose(k->id, i)))
			continue;
		/* Its ref has not come along yet; that is told where refs are looked at. */
		if (k->id == TABLE_release && i == RELEASE_MAIN && is_zero(&k->row[i])) {
			r->excused = true;
			continue;
		}
		buf_fmt(&what, "%scolumn %s is ", n++ ? "; " : "", db_table_column(k->id, i, name));
		put_value(&what, &row[i]);
		buf_str(&what, ", and the signed log says ");
		put_value(&what, &k->row[i]);
	}
	/* A counter may be ahead, never behind. */
	if (k->id == TABLE_counter && row[1].u < k->row[1].u) {
		buf_fmt(&what, "the counter stands at %llu, and the log has release %llu", (unsigned long long)row[1].u, (unsigned long long)k->row[1].u);
		n++;
	}
	if (n)
		note_wrong(r, k->id, row, k->row);
	if (n)
		name_row(r, recorded ? FINDING_RECORD_ROW : FINDING_STATE_ROW, k->id, row, buf_text(&what));
	buf_release(&what);
}

/* Made by whoever is first to write it, or taken away again by time, without a record. */
static bool may_miss(enum db_table_id id)
{
	return id == TABLE_schedule || id == TABLE_token;
}

static void look_up(struct rows *r, enum db_table_id id, const struct db_value *row)
{
	struct kept *k = *slot_of(r->slots, r->n_slots, key_hash(r, id, row), id, row);
	bool recorded = db_tables[id].kind == TABLE_RECORDED;

	/* Nothing of a schedule or counter need be in the log. */
	if (!k && (id == TABLE_schedule || id == TABLE_counter))
		return;
	if (!k || k->seen) {
		note_wrong(r, id, row, NULL);
		name_row(r, recorded ? FINDING_RECORD_ROW_FOREIGN : FINDING_STATE_ROW_FOREIGN, id, row, "no record of the signed log wrote this row");
		return;
	}
	k->seen = true;
	name_difference(r, k, row);
}

/* --- reading --------------------------------------------------------------------------------------------------------- */

static bool of_record(struct rows *r, const struct db_value *row, uint64_t *seq)
{
	const char *node = node_key_id(r->c->p->key);

	*seq = row[2].u;
	return row[2].number && *seq >= 1 && *seq <= r->n_records && row[1].n == strlen(node) && memcmp(row[1].p, node, row[1].n) == 0;
}

static bool read_row(void *arg, const struct db_value *row)
{
	struct rows *r = arg;
	struct sha256 d;
	struct sum s;
	uint64_t seq;

	if (stopped(r->c))
		return false;
	if (db_tables[r->reading].kind == TABLE_DERIVED) {
		look_up(r, r->reading, row);
	} else if (!of_record(r, row, &seq)) {
		if (!r->naming)
			name_row(r, FINDING_RECORD_ROW_FOREIGN, r->reading, row, "the signed log has no such record");
	} else if (r->naming) {
		if (r->sums[seq].a || r->sums[seq].b)
			look_up(r, r->reading, row);
	} else {
		digest(r, r->reading, row, db_table_columns(r->reading), &d);
		memcpy(&s, d.b, sizeof(s));
		r->sums[seq].a -= s.a;
		r->sums[seq].b -= s.b;
	}
	return true;
}

static enum err read_tables(struct rows *r, struct db *db, enum db_table_kind kind)
{
	const bool installation = strcmp(r->c->p->name, INSTALLATION) == 0;
	enum err e = ERR_OK;

	for (int id = 0; id < TABLE_COUNT && !e; id++) {
		if (db_tables[id].kind != kind || (!db_tables[id].of_site && !installation))
			continue;
		r->reading = (enum db_table_id)id;
		e = db_table_rows(db, r->reading, r->c->p->name, read_row, r);
	}
	return !e && stopped(r->c) ? err_set(ERR_BUSY, "the check was ended before it was done") : e;
}

static void name_missing(struct rows *r, enum db_table_kind kind)
{
	for (size_t i = 0; i < r->n_slots; i++) {
		struct kept *k = r->slots[i];

		if (!k || k->seen || db_tables[k->id].kind != kind || may_miss(k->id))
			continue;
		k->seen = true;
		note_wrong(r, k->id, NULL, k->row);
		name_row(r, kind == TABLE_RECORDED ? FINDING_RECORD_ROW_MISSING : FINDING_STATE_ROW_MISSING, k->id, k->row,
		    "this row is missing: the signed log says that it was written");
	}
}

enum err rows_compare(struct rows *r, struct db *db)
{
	enum err e = read_tables(r, db, TABLE_RECORDED);

	if (!e)
		e = read_tables(r, db, TABLE_DERIVED);
	if (!e)
		name_missing(r, TABLE_DERIVED);
	r->naming = true;
	return e;
}

uint64_t rows_next(const struct rows *r, uint64_t seq)
{
	unsigned n = 0;

	for (uint64_t i = 1; i <= r->n_records && n < FINDINGS_OF_A_KIND; i++) {
		if (!r->sums[i].a && !r->sums[i].b)
			continue;
		n++;
		if (i > seq)
			return i;
	}
	return 0;
}

enum err rows_name(struct rows *r, struct db *db)
{
	uint64_t all = 0, last = 0, at = 0, told;
	enum err e;

	while ((at = rows_next(r, at)))
		last = at;
	if (!last)
		return ERR_OK;
	/* Those after the last that is named are only counted. */
	for (uint64_t i = last + 1; i <= r->n_records; i++)
		if (r->sums[i].a || r->sums[i].b) {
			r->sums[i] = (struct sum){ 0, 0 };
			all++;
		}
	told = r->c->out->findings;
	e = read_tables(r, db, TABLE_RECORDED);
	if (!e)
		name_missing(r, TABLE_RECORDED);
	if (!e && r->c->out->findings == told && !r->excused)
		e = err_set(ERR_FAILED, "rows of record %llu changed while they were looked at", (unsigned long long)last);
	if (!e && all)
		found(r->c, FINDING_RECORD_ROW, "", "rows of %llu more records are not what the signed log says", (unsigned long long)all);
	return e;
}

/* --- mending --------------------------------------------------------------------------------------------------------- */

/* Of the tables that are mended, these write rows of files, and no others. */
static bool writes_files_only(const char *act)
{
	static const char *const ACTS[] = { "sign", "review", "revoke", "pickup", "reapprove", "rollback", "release", "force" };

	for (size_t i = 0; i < sizeof(ACTS) / sizeof(*ACTS); i++)
		if (strcmp(ACTS[i], act) == 0)
			return true;
	return false;
}

static int by_path(const void *a, const void *b)
{
	return path_compare(((const struct record_file *)a)->path, ((const struct record_file *)b)->path);
}

static bool names_path(const struct log_entry *e, const struct db_value *path)
{
	const json_t *superseded = json_object_get(e->record.fields, "superseded");
	const struct record_file key = { .path = { path->p, path->n } };

	if (e->record.files_count && bsearch(&key, e->files, e->record.files_count, sizeof(key), by_path))
		return true;
	for (size_t i = 0; i < json_array_size(superseded); i++) {
		const char *s = json_string_value(json_array_get(superseded, i));

		if (s && strlen(s) == path->n && memcmp(s, path->p, path->n) == 0)
			return true;
	}
	return false;
}

void rows_overtaken(struct rows *r, const struct log_entry *e)
{
	const bool others = !writes_files_only(e->record.act);

	for (size_t i = 0; i < r->n_wrong; i++) {
		struct wrong *w = &r->wrong[i];

		if (w->id == TABLE_file_state)
			w->left |= names_path(e, &(w->is ? w->is : w->ought)[FILE_STATE_PATH]);
		else
			w->left |= others;
	}
}

bool rows_left(const struct rows *r)
{
	for (size_t i = 0; i < r->n_wrong; i++)
		if (r->wrong[i].left)
			return true;
	return false;
}

static enum err mend_all(struct db *db, void *arg)
{
	const struct rows *r = arg;
	enum err e = ERR_OK;

	for (size_t i = 0; i < r->n_wrong && !e; i++) {
		const struct wrong *w = &r->wrong[i];

		if (w->left)
			continue;
		if (w->is)
			e = db_table_take(db, w->id, w->is);
		if (!e && w->ought)
			e = db_table_put(db, w->id, w->ought);
		FAILPOINT_OR(e, mend_row);
	}
	return e;
}

bool rows_mendable(const struct rows *r)
{
	for (size_t i = 0; i < r->n_wrong; i++)
		if (!r->wrong[i].left)
			return true;
	return false;
}

enum err rows_mend(struct rows *r, struct db *db)
{
	return tx_run(db, mend_all, r, NULL);
}

const struct path *rows_strayed(struct rows *r, size_t *n)
{
	struct path *paths = arena_alloc(r->arena, (r->n_wrong + 1) * sizeof(*paths));

	*n = 0;
	for (size_t i = 0; i < r->n_wrong; i++) {
		const struct db_value *row = r->wrong[i].is;

		if (row && !r->wrong[i].left && r->wrong[i].id == TABLE_file_state && path_parse(&paths[*n], row[FILE_STATE_PATH].p, row[FILE_STATE_PATH].n, r->arena) == ERR_OK)
			(*n)++;
	}
	return paths;
}
