/* The rules in force. */
#include "db/internal.h"

#include <stdlib.h>

DB_STMT(LOAD, "rules_load", "SELECT principal, path, role FROM rule WHERE site = ?");
enum err db_rules_load(struct db *db, const char *site, struct rules **out)
{
	struct arena *a = arena_new();
	struct rule *list = NULL;
	size_t n = 0, cap = 0;
	struct cursor c;

	cursor_open(&c, db, &LOAD, ARGS(a_name(site)));
	while (cursor_next(&c)) {
		struct rule r = { .principal = arena_dup(a, cursor_text(&c, 0)) };
		uint64_t role = cursor_u64(&c, 2);

		cursor_path(&c, 1, &r.path);
		if (!c.e && (role > ROLE_ADMIN || !principal_valid(r.principal)))
			c.e = err_set(ERR_FAILED, "a rule of the site %s is damaged: principal '%s', role %llu", site, r.principal, (unsigned long long)role);
		if (c.e)
			break;
		r.path = path_copy(r.path, a);
		r.role = (enum role)role;
		if (n == cap)
			list = mem_grow(list, &cap, n + 1, sizeof(*list));
		list[n++] = r;
	}
	enum err e = cursor_close(&c);
	if (!e)
		*out = rules_new(list, n);
	free(list);
	arena_free(a);
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
