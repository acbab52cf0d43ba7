/* The rules in force, with the requirements and fields beside them. */
#include "db/internal.h"

#include <stdlib.h>

struct loading {
	const char *site;
	struct arena *a;
	struct rule *rules;
	struct requirement *required;
	size_t n, cap, n_required, cap_required;
};

DB_STMT(LOAD, "rules_load", "SELECT principal, path, role FROM rule WHERE site = ?");
static enum err load_rules(struct db *db, struct loading *l)
{
	struct cursor c;

	cursor_open(&c, db, &LOAD, ARGS(a_name(l->site)));
	while (cursor_next(&c)) {
		struct rule r = { .principal = arena_dup(l->a, cursor_text(&c, 0)) };
		uint64_t role = cursor_u64(&c, 2);

		cursor_path(&c, 1, &r.path);
		if (!c.e && (role > ROLE_ADMIN || !principal_valid(r.principal)))
			c.e = err_set(ERR_FAILED, "a rule of the site %s is damaged: principal '%s', role %llu", l->site, r.principal, (unsigned long long)role);
		if (c.e)
			break;
		r.path = path_copy(r.path, l->a);
		r.role = (enum role)role;
		l->rules = mem_grow(l->rules, &l->cap, l->n + 1, sizeof(*l->rules));
		l->rules[l->n++] = r;
	}
	return cursor_close(&c);
}

DB_STMT(LOAD_REQUIRED, "requirements_load", "SELECT path, reviews, not_alone FROM requirement WHERE site = ?");
static enum err load_required(struct db *db, struct loading *l)
{
	struct cursor c;

	cursor_open(&c, db, &LOAD_REQUIRED, ARGS(a_name(l->site)));
	while (cursor_next(&c)) {
		struct requirement q = { .reviews = (unsigned)cursor_u64(&c, 1), .not_alone = cursor_u64(&c, 2) != 0 };

		cursor_path(&c, 0, &q.path);
		if (!c.e && (q.reviews > REQUIRED_REVIEWS_LIMIT || (!q.reviews && !q.not_alone)))
			c.e = err_set(ERR_FAILED, "a requirement of the site %s is damaged: %u reviews on %s", l->site, q.reviews, q.path.s);
		if (c.e)
			break;
		q.path = path_copy(q.path, l->a);
		l->required = mem_grow(l->required, &l->cap_required, l->n_required + 1, sizeof(*l->required));
		l->required[l->n_required++] = q;
	}
	return cursor_close(&c);
}

enum err db_rules_load(struct db *db, const char *site, struct rules **out)
{
	struct loading l = { .site = site, .a = arena_new() };
	struct field_def *fields = NULL;
	size_t n_fields;
	enum err e = load_rules(db, &l);

	if (!e)
		e = load_required(db, &l);
	if (!e)
		e = db_fields_load(db, site, &fields, &n_fields, l.a);
	if (!e)
		*out = rules_new_full(l.rules, l.n, l.required, l.n_required, fields, n_fields);
	free(fields);
	free(l.rules);
	free(l.required);
	arena_free(l.a);
	return e;
}

DB_STMT(SET, "rule_set", "INSERT INTO rule (site, principal, path_hash, path, role, seq) VALUES (?, ?, ?, ?, ?, ?) "
	"ON DUPLICATE KEY UPDATE role = VALUES(role), seq = VALUES(seq)");
enum err db_rule_set(struct db *db, const char *site, const struct rule *rule, uint64_t seq)
{
	struct sha256 hash;

	path_hash(rule->path, &hash);
	return db_run(db, &SET,
	    ARGS(a_name(site), a_name(rule->principal), a_fixed(&hash), a_path(rule->path), a_u64(rule->role), a_u64(seq)), NULL);
}

DB_STMT(REMOVE, "rule_remove", "DELETE FROM rule WHERE site = ? AND principal = ? AND path_hash = ?");
enum err db_rule_remove(struct db *db, const char *site, const char *principal, struct path path)
{
	struct sha256 hash;

	path_hash(path, &hash);
	return db_run_found(db, &REMOVE, ARGS(a_name(site), a_name(principal), a_fixed(&hash)), "there is no such rule");
}

DB_STMT(REQUIRE, "requirement_set", "INSERT INTO requirement (site, path_hash, path, reviews, not_alone, seq) VALUES (?, ?, ?, ?, ?, ?) "
	"ON DUPLICATE KEY UPDATE reviews = VALUES(reviews), not_alone = VALUES(not_alone), seq = VALUES(seq)");
enum err db_requirement_set(struct db *db, const char *site, const struct requirement *q, uint64_t seq)
{
	struct sha256 hash;

	path_hash(q->path, &hash);
	return db_run(db, &REQUIRE,
	    ARGS(a_name(site), a_fixed(&hash), a_path(q->path), a_u64(q->reviews), a_u64(q->not_alone), a_u64(seq)), NULL);
}

DB_STMT(REQUIRE_NO_MORE, "requirement_remove", "DELETE FROM requirement WHERE site = ? AND path_hash = ?");
enum err db_requirement_remove(struct db *db, const char *site, struct path path)
{
	struct sha256 hash;

	path_hash(path, &hash);
	return db_run_found(db, &REQUIRE_NO_MORE, ARGS(a_name(site), a_fixed(&hash)), "nothing is asked for there");
}
