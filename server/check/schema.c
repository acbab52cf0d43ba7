/* What the program's account may do, and rows of sites that there are not. Engines and schema are seen to when it is opened. */
#include <string.h>
#include <sys/stat.h>

#include "check/internal.h"

/* --- grants ---------------------------------------------------------------------------------------------------------- */

static const struct db_table *recorded_table(const char *name, size_t n)
{
	for (int id = 0; id < TABLE_COUNT; id++)
		if (db_tables[id].kind == TABLE_RECORDED && strlen(db_tables[id].name) == n && memcmp(db_tables[id].name, name, n) == 0)
			return &db_tables[id];
	return NULL;
}

/* "GRANT SELECT, INSERT ON `drydock`.`record` TO ..." */
static bool see_grant(void *arg, const char *line)
{
	static const char begin[] = "GRANT ", on[] = " ON ";
	struct check *c = arg;
	const char *rights = line + sizeof(begin) - 1, *where = strstr(line, on), *table, *end;
	size_t n;

	if (strncmp(line, begin, sizeof(begin) - 1) != 0 || !where)
		return true;
	n = (size_t)(where - rights);
	where += sizeof(on) - 1;
	end = strstr(where, " TO ");
	table = end ? memchr(where, '.', (size_t)(end - where)) : NULL;
	if (!table)
		return true;
	if (table[1] == '*') {
		if (n != strlen("USAGE") || strncmp(rights, "USAGE", n) != 0)
			found(c, FINDING_GRANTS, "the program's account", "it has more than rights on single tables: %.*s on %.*s", (int)n, rights, (int)(end - where), where);
		return true;
	}
	table += 2;
	if (recorded_table(table, strcspn(table, "`")) && (n != strlen("SELECT, INSERT") || strncmp(rights, "SELECT, INSERT", n) != 0) &&
	    (n != strlen("SELECT") || strncmp(rights, "SELECT", n) != 0))
		found(c, FINDING_GRANTS, "the program's account", "on the table %.*s it has %.*s; records are only read and inserted", (int)strcspn(table, "`"), table,
		    (int)n, rights);
	return true;
}

/* --- sites ----------------------------------------------------------------------------------------------------------- */

struct sites {
	struct check *c;
	const char *table;
};

static bool see_site(void *arg, const char *site)
{
	struct sites *s = arg;
	char subject[256];
	char *repo = mem_printf("%s/../%s/repo.git", s->c->p->dir, site);
	struct stat st;

	if (!(site_name_valid(site) || strcmp(site, INSTALLATION) == 0) || stat(repo, &st) != 0) {
		snprintf(subject, sizeof(subject), "%s: site \"%.128s\"", s->table, site);
		found(s->c, FINDING_RECORD_ROW_FOREIGN, subject, "there are rows of a site that has no repository here");
	}
	free(repo);
	return true;
}

enum err check_schema(struct check *c)
{
	enum err e = c->p->grants ? db_grants(c->p->db, see_grant, c) : ERR_OK;

	for (int id = 0; id < TABLE_COUNT && !e; id++) {
		struct sites s = { c, db_tables[id].name };

		e = db_table_sites(c->p->db, (enum db_table_id)id, see_site, &s);
	}
	return e;
}
