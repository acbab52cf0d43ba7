/*
 * site: a site as it runs: opened once at start, with its repository, export, catalog and rules.
 */
#include <fcntl.h>
#include <string.h>

#include "acts/internal.h"
#include "acts/turn.h"
#include "base/clock.h"
#include "base/failpoint.h"
#include "base/file.h"
#include "base/log.h"
#include "base/weaken.h"

/* --- the tools of a thread ----------------------------------------------------------------------------------------- */

struct open_repo {
	char *dir;
	struct repo *repo;
};

struct actor_tools {
	struct db *db;
	struct open_repo *repos;
	size_t n, cap;
};

struct actor_tools *tools_new(const struct db_address *address)
{
	struct actor_tools *t = mem_alloc(sizeof *t);

	if (db_open(&t->db, address)) {
		free(t);
		return NULL;
	}
	return t;
}

void tools_free(struct actor_tools *t)
{
	if (!t)
		return;
	for (size_t i = 0; i < t->n; i++) {
		repo_close(t->repos[i].repo);
		free(t->repos[i].dir);
	}
	free(t->repos);
	db_close(t->db);
	free(t);
}

struct db *tools_db(struct actor_tools *t)
{
	return t->db;
}

enum err tools_repo(struct actor_tools *t, const struct site *s, struct repo **out)
{
	struct repo *repo;
	enum err err;

	for (size_t i = 0; i < t->n; i++)
		if (strcmp(t->repos[i].dir, s->repo_dir) == 0) {
			*out = t->repos[i].repo;
			return ERR_OK;
		}
	err = repo_open(&repo, s->repo_dir);
	if (err)
		return err;
	t->repos = mem_grow(t->repos, &t->cap, t->n + 1, sizeof *t->repos);
	t->repos[t->n++] = (struct open_repo){ mem_dup(s->repo_dir), repo };
	*out = repo;
	return ERR_OK;
}

/* --- the sites that are open --------------------------------------------------------------------------------------- */

static pthread_mutex_t sites_lock = PTHREAD_MUTEX_INITIALIZER;
static struct site **sites;
static size_t n_sites, sites_cap;

static void sites_add(struct site *s)
{
	pthread_mutex_lock(&sites_lock);
	sites = mem_grow(sites, &sites_cap, n_sites + 1, sizeof *sites);
	sites[n_sites++] = s;
	pthread_mutex_unlock(&sites_lock);
}

static void sites_remove(const struct site *s)
{
	pthread_mutex_lock(&sites_lock);
	for (size_t i = 0; i < n_sites; i++)
		if (sites[i] == s) {
			sites[i] = sites[--n_sites];
			break;
		}
	if (!n_sites) {
		free(sites);
		sites = NULL;
		sites_cap = 0;
	}
	pthread_mutex_unlock(&sites_lock);
}

void sites_each(bool (*fn)(void *arg, struct site *s), void *arg)
{
	pthread_mutex_lock(&sites_lock);
	for (size_t i = 0; i < n_sites; i++)
		if (!fn(arg, sites[i]))
			break;
	pthread_mutex_unlock(&sites_lock);
}

/* --- rules --------------------------------------------------------------------------------------------------------- */

struct rules *site_rules(struct site *s)
{
	struct rules *r;

	pthread_mutex_lock(&s->rules_lock);
	r = rules_ref(s->rules);
	pthread_mutex_unlock(&s->rules_lock);
	return r;
}

void site_rules_put(struct site *s, struct rules *rules, uint64_t version)
{
	struct rules *old;

	pthread_mutex_lock(&s->rules_lock);
	old = s->rules;
	s->rules = rules;
	s->rules_version = version;
	pthread_mutex_unlock(&s->rules_lock);
	rules_unref(old);
}

void site_rules_stale(struct site *s)
{
	pthread_mutex_lock(&s->rules_lock);
	s->rules_version = UINT64_MAX;
	pthread_mutex_unlock(&s->rules_lock);
}

/*
 * Which rules are in force is signed: the newest record has them. Where the rows of the database say something else, nobody's
 * act made them so, and the log's count: or the next act would sign what somebody wrote into a table.
 */
static enum err rules_of_log(struct site *s, struct db *db, struct repo *repo, struct rules **rules)
{
	struct buf mine = BUF_INIT(RULES_LIMIT), text = BUF_INIT(RULES_LIMIT);
	struct repo_log_commit parts;
	struct db_head head;
	struct rules *theirs;
	enum err err = db_head_get(db, s->name, node_key_id(s->key), &head);

	if (err || !head.seq)
		return err;
	err = repo_log_read(repo, &head.commit, &parts);
	if (!err)
		err = repo_blob_read(repo, &parts.rules, &text);
	if (err)
		err = err_prefix(ERR_FAILED, "the rules that record %llu of %s was made under", (unsigned long long)head.seq, s->name);
	rules_encode(*rules, &mine);
	if (!err && (mine.len != text.len || (text.len && memcmp(mine.p, text.p, text.len) != 0)) && !WEAK(rules_signed)) {
		log_event(LOG_LEVEL_ERROR, "rules.foreign", "site", s->name, "seq", log_u64(head.seq), "text",
		    "the database has other rules than the newest record was made under: those of the log count. See drydockd fsck", NULL);
		err = rules_decode(&theirs, buf_text(&text), text.len);
		if (!err) {
			rules_unref(*rules);
			*rules = theirs;
		}
	}
	buf_release(&mine);
	buf_release(&text);
	return err;
}

enum err site_rules_at(struct site *s, struct db *db, struct repo *repo, uint64_t version, struct rules **out)
{
	enum err err;

	*out = NULL;
	pthread_mutex_lock(&s->rules_lock);
	if (s->rules && s->rules_version == version)
		*out = rules_ref(s->rules);
	pthread_mutex_unlock(&s->rules_lock);
	if (*out)
		return ERR_OK;
	err = db_rules_load(db, s->name, out);
	if (!err && repo && (err = rules_of_log(s, db, repo, out))) {
		rules_unref(*out);
		*out = NULL;
	}
	if (!err)
		site_rules_put(s, rules_ref(*out), version);
	return err;
}

/* --- loading what is kept in memory -------------------------------------------------------------------------------- */

struct loading {
	struct catalog *c;
	uint64_t approved;
};

static bool load_state(void *arg, const struct db_state_row *row)
{
	struct loading *l = arg;
	struct approved a = approved_of(row);

	if (approval_stands(row->approval))
		l->approved++;
	catalog_set_approved(l->c, row->path, &a);
	return true;
}

enum err site_load_states(struct site *s, struct db *db)
{
	struct loading l = { .c = s->catalog };
	enum err err;

	catalog_batch_begin(s->catalog);
	err = db_state_all(db, s->name, load_state, &l);
	catalog_batch_end(s->catalog);
	if (!err)
		s->approved_files = l.approved;
	return err;
}

static void preapproved_take(struct preapproved_list *l, const struct preapproved *p)
{
	struct preapproved own = *p;

	own.path = path_copy(p->path, l->a);
	own.pattern = arena_dup(l->a, p->pattern);
	l->list = mem_grow(l->list, &l->cap, l->n + 1, sizeof *l->list);
	l->list[l->n++] = own;
}

static bool load_live(void *arg, const struct db_preapproval *p)
{
	struct preapproved_list *l = arg;

	if (preapproved_ended(&p->what, l->now))
		return true;
	if (p->what.until && (!l->next_end || p->what.until < l->next_end))
		l->next_end = p->what.until;
	preapproved_take(l, &p->what);
	return true;
}

enum err preapproved_live(struct site *s, struct db *db, struct preapproved_list *l)
{
	l->now = clock_wall();
	return db_preapproval_list(db, s->name, load_live, l);
}

enum err site_load_preapprovals(struct site *s, struct db *db)
{
	struct preapproved_list l = { .a = arena_new() };
	enum err err = preapproved_live(s, db, &l);

	if (!err) {
		catalog_set_preapproved(s->catalog, l.list, l.n);
		s->preapproval_ends = l.next_end;
	}
	free(l.list);
	arena_free(l.a);
	return err;
}

const char *site_log_ref(const struct site *s, char out[128])
{
	size_t n = sizeof LOG_REF_PREFIX - 1;

	memcpy(out, LOG_REF_PREFIX, n);
	memcpy(out + n, node_key_id(s->key), 65);
	return out;
}

/* --- the first record of a log ------------------------------------------------------------------------------------- */

static enum err genesis_check(struct decision *d, void *arg)
{
	(void)arg;
	if (d->head.seq)
		return err_set(ERR_STALE, "The log of %s has begun already.", d->s->name);
	d->fields = json_object();
	json_object_set_new(d->fields, "key", json_string(node_key_public(d->s->key)));
	/* The node's id is that of its first key: how that one led to this one. */
	if (node_key_statements(d->s->key))
		json_object_set(d->fields, "keys", node_key_statements(d->s->key));
	return ERR_OK;
}

/* A site begins with its log, so that the log tells when. */
static enum err genesis_write(struct decision *d, void *arg)
{
	(void)arg;
	enum err err = db_site_created(d->db, d->s->name, d->record.at);

	FAILPOINT_OR(err, genesis_row);
	return err;
}

static enum err genesis(struct site *s, struct actor_tools *t)
{
	struct act_request rq = { .note = "" };
	struct decision d = { .s = s, .t = t, .rq = &rq, .act = "genesis", .shown = "", .check = genesis_check, .write = genesis_write };
	struct act_answer answer;
	struct request r;
	enum err err;

	uuid_new(&rq.op);
	request_begin(&r, "genesis");
	request_end(&r, &d.request);
	err = decide(&d, &answer);
	if (!err && answer.pending[0])
		err = err_set(ERR_FAILED, "%s", answer.pending);
	return err ? err : site_load_keys(s, tools_db(t));
}

/* --- open and close ------------------------------------------------------------------------------------------------ */

/* Of a scan: more than there are processors, so that beside other work it gets its share (doc/DECISIONS). */
#define SCAN_THREADS 4

static struct site *site_new(const struct conf *conf, const char *name, const struct node_key *key, struct turns *turns)
{
	struct site *s = mem_alloc(sizeof *s);
	char *repo = mem_printf("%s/sites/%s/repo.git", conf->data, name);

	s->name = mem_dup(name);
	s->key = key;
	s->turns = turns;
	s->dir = mem_printf("%s/sites/%s", conf->data, name);
	if (strlen(repo) < sizeof s->repo_dir)
		memcpy(s->repo_dir, repo, strlen(repo) + 1);
	free(repo);
	pthread_mutex_init(&s->writer, NULL);
	pthread_mutex_init(&s->rules_lock, NULL);
	pthread_mutex_init(&s->release_lock, NULL);
	pthread_mutex_init(&s->manifest_lock, NULL);
	return s;
}

/* Before anything else of it is touched: is it this server that may? */
static enum err site_take_turn(struct site *s, struct actor_tools *t)
{
	enum err err;

	if (!s->repo_dir[0])
		return err_set(ERR_INPUT, "The path of the data directory is too long.");
	err = file_mkdirs(s->dir, 0750);
	FAILPOINT_OR(err, site_directory);
	if (!err)
		err = repo_create(s->repo_dir);
	FAILPOINT_OR(err, site_repository);
	return err ? err : turn_enter(s, t);
}

enum err site_load(struct site *s, struct db *db, struct repo *repo)
{
	struct rules *rules;
	struct db_site row;
	enum err err = db_site_get(db, s->name, &row);

	if (!err)
		err = site_rules_at(s, db, repo, row.rules_version, &rules);
	if (err)
		return err;
	rules_unref(rules);
	if (!s->catalog)
		return ERR_OK;
	err = site_load_states(s, db);
	return err ? err : site_load_preapprovals(s, db);
}

/* What is the same for a site and for the installation; the catalog and export are open, if there are any. */
static enum err site_begin(struct site *s, struct actor_tools *t)
{
	struct db *db = t->db;
	struct db_head head;
	struct repo *repo;
	struct blob_id ref;
	char name[128];
	enum err err;

	err = tools_repo(t, s, &repo);
	if (!err)
		err = db_site_create(db, s->name, node_key_id(s->key), clock_wall());
	FAILPOINT_OR(err, site_row);
	if (!err)
		err = site_load(s, db, NULL);
	/* Not held against the log yet: recovery does that, and turn_follow. */
	site_rules_stale(s);
	FAILPOINT_OR(err, site_loaded);
	if (!err)
		err = db_head_get(db, s->name, node_key_id(s->key), &head);
	if (err)
		return err;
	if (s->waits)
		return head.seq && !s->keys ? site_load_keys(s, db) : ERR_OK;
	if (!head.seq) {
		err = repo_ref_get(repo, site_log_ref(s, name), &ref);
		/* Its log begins with the new key, which comes before anything else is signed. */
		if (err == ERR_NOT_FOUND)
			return node_key_next(s->key) ? ERR_OK : genesis(s, t);
		if (err)
			return err;
	}
	if (head.seq && !s->keys)
		err = site_load_keys(s, db);
	return err ? err : site_recover(s, t);
}

enum err site_open(struct site **out, const struct conf *conf, const struct conf_site *cs, const struct node_key *key, struct turns *turns, struct actor_tools *t)
{
	struct site *s = site_new(conf, cs->name, key, turns);
	char *cache = mem_printf("%s/stat.cache", s->dir);
	struct catalog_options o = {
		.staging = cs->staging, .cache_file = cache, .largest_file = cs->largest_file, .watch = cs->watch, .threads = SCAN_THREADS,
	};
	enum err err;

	*out = NULL;
	s->conf = cs;
	err = site_take_turn(s, t);
	/* It may lie on storage that the servers share. */
	if (s->waits)
		o.cache_file = NULL;
	if (!err)
		err = export_open(&s->export, s->dir);
	if (!err)
		err = catalog_open(&s->catalog, &o);
	if (!err)
		err = site_begin(s, t);
	free(cache);
	if (err) {
		site_close(s);
		return err_prefix(err, "site %s", cs->name);
	}
	sites_add(s);
	*out = s;
	return ERR_OK;
}

enum err site_open_installation(struct site **out, const struct conf *conf, const struct node_key *key, struct turns *turns, struct actor_tools *t)
{
	return site_open_log(out, conf, INSTALLATION, key, turns, t);
}

enum err site_open_log(struct site **out, const struct conf *conf, const char *name, const struct node_key *key, struct turns *turns, struct actor_tools *t)
{
	struct site *s = site_new(conf, name, key, turns);
	enum err err = site_take_turn(s, t);

	if (!err)
		err = site_begin(s, t);
	*out = NULL;
	if (err) {
		site_close(s);
		return err_prefix(err, "%s", name);
	}
	*out = s;
	return ERR_OK;
}

void site_close(struct site *s)
{
	if (!s)
		return;
	sites_remove(s);
	if (s->catalog)
		catalog_close(s->catalog);
	if (s->export)
		export_close(s->export);
	rules_unref(s->rules);
	site_keys_free(s->keys);
	pthread_mutex_destroy(&s->writer);
	pthread_mutex_destroy(&s->rules_lock);
	free((char *)s->name);
	free((char *)s->dir);
	free(s);
}
