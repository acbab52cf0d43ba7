#include "acts_world.h"

#include <dirent.h>
#include <ftw.h>

void world_open(struct world *w)
{
	struct auth_options o = { .idle_us = 3600 * CLOCK_SECOND, .absolute_us = 86400 * CLOCK_SECOND, .group_cache_us = 60 * CLOCK_SECOND };

	w->auth = auth_new(&o);
	w->t = tools_new(&w->address);
	assert_non_null(w->t);
	assert_ok(site_open_installation(&w->installation, &w->conf, w->key, NULL, w->t));
	w->installation->auth = w->auth;
	assert_ok(site_open(&w->s, &w->conf, &w->site_conf, w->key, NULL, w->t));
	w->s->auth = w->auth;
}

void world_close(struct world *w)
{
	site_close(w->s);
	site_close(w->installation);
	tools_free(w->t);
	auth_free(w->auth);
	w->s = w->installation = NULL;
	w->t = NULL;
	w->auth = NULL;
}

static struct person *account(struct world *w, const char *name)
{
	struct act_request rq = { .note = "" };
	struct act_answer answer;
	struct person *p;
	bool enabled;

	uuid_new(&rq.op);
	assert_ok(act_account_put(w->installation, w->t, &rq, name, "a long password", NULL, true, &answer));
	char *principal = mem_printf("own:%s", name);
	assert_ok(auth_person(w->auth, tools_db(w->t), principal, &p, &enabled));
	free(principal);
	assert_true(enabled);
	return p;
}

static void rule(struct world *w, const char *principal, const char *path, enum role role)
{
	struct act_request rq = request_of(w->admin, "");
	struct act_answer answer;

	assert_ok(act_rule(w->s, w->t, w->auth, &rq, principal, path_of(path), role, &answer));
}

/* What all tests of the program share. */
static struct {
	char dir[80];
	struct testdb *db;
	struct node_key *key;
	unsigned sites;
} all;

static void all_begin(void)
{
	if (all.db)
		return;
	assert_int_equal(testdb_start(&all.db), 0);
	snprintf(all.dir, sizeof all.dir, "%s/drydock-acts-XXXXXX", getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp");
	assert_non_null(mkdtemp(all.dir));
	assert_ok(node_key_create(all.dir));
	assert_ok(node_key_load(&all.key, all.dir));
}

void world_end(void)
{
	if (!all.db)
		return;
	node_key_free(all.key);
	if (file_remove_tree(AT_FDCWD, all.dir))
		fprintf(stderr, "# %s\n", err_text());
	testdb_stop(all.db);
}

/* Where everything is: dir is .../testN, and the installation's is above it. */
static void places(struct world *w)
{
	const char *slash = strrchr(w->dir, '/');
	char *name = mem_printf("site%s", slash + strlen("/test"));

	w->staging = mem_printf("%s/staging", w->dir);
	w->data = mem_dupn(w->dir, (size_t)(slash - w->dir));
	w->signers = mem_printf("%s/signers", w->dir);
	w->conf = (struct conf){ .file = "", .data = w->data };
	w->site_conf = (struct conf_site){ .name = name, .title = name, .staging = w->staging, .live_url = "", .largest_file = 64u << 20, .release_expiry_us = 3600 * CLOCK_SECOND, .release_keep = 3 };
}

#define ADDRESS "%s/address"

void world_tell(const struct world *w)
{
	char *name = mem_printf(ADDRESS, w->dir);

	assert_ok(file_write(AT_FDCWD, name, &w->address, sizeof w->address, 0600));
	free(name);
}

void world_join(struct world *w, const char *dir)
{
	char *name = mem_printf(ADDRESS, dir);
	struct buf b = BUF_INIT(sizeof w->address);
	bool enabled;

	*w = (struct world){ .db = NULL };
	snprintf(w->dir, sizeof w->dir, "%s", dir);
	places(w);
	assert_ok(file_read(AT_FDCWD, name, &b));
	assert_int_equal(b.len, sizeof w->address);
	memcpy(&w->address, b.p, sizeof w->address);
	assert_ok(db_library_start());
	assert_ok(node_key_load(&w->key, w->data));
	world_open(w);
	assert_ok(auth_person(w->auth, tools_db(w->t), "own:editor", &w->editor, &enabled));
	buf_release(&b);
	free(name);
}

void world_new(struct world *w)
{
	struct act_answer answer;

	all_begin();
	*w = (struct world){ .db = all.db, .address = all.db->program, .key = all.key };
	snprintf(w->dir, sizeof w->dir, "%.76s/test%u", all.dir, ++all.sites);
	places(w);
	assert_ok(file_mkdirs(w->staging, 0755));
	assert_ok(node_key_write_allowed_signers(w->key, w->signers, clock_wall() - 86400 * CLOCK_SECOND));
	world_open(w);
	w->admin = account(w, "admin");
	w->editor = account(w, "editor");
	w->reviewer = account(w, "reviewer");
	w->viewer = account(w, "viewer");
	w->stranger = account(w, "stranger");
	assert_ok(act_admin_offline(w->s, w->t, "own:admin", &answer));
	rule(w, "own:editor", "/", ROLE_SIGN);
	rule(w, "own:reviewer", "/", ROLE_REVIEW);
	rule(w, "own:viewer", "/", ROLE_VIEW);
}

void world_free(struct world *w)
{
	world_close(w);
	person_unref(w->admin);
	person_unref(w->editor);
	person_unref(w->reviewer);
	person_unref(w->viewer);
	person_unref(w->stranger);
	assert_ok(file_remove_tree(AT_FDCWD, w->dir));
	free(w->staging);
	free(w->data);
	free(w->signers);
	free((char *)w->site_conf.name);
}

/* --- staging ------------------------------------------------------------------------------------------------------- */

void put_bytes(struct world *w, const char *path, const void *p, size_t n)
{
	char *full = mem_printf("%s%s", w->staging, path), *slash = strrchr(full, '/');

	*slash = '\0';
	assert_ok(file_mkdirs(full, 0755));
	*slash = '/';
	assert_ok(file_write_fast(AT_FDCWD, full, p, n, 0644));
	free(full);
}

void put(struct world *w, const char *path, const char *text)
{
	put_bytes(w, path, text, strlen(text));
}

void take(struct world *w, const char *path)
{
	char *full = mem_printf("%s%s", w->staging, path);
	struct stat st;

	assert_int_equal(lstat(full, &st), 0);
	if (S_ISDIR(st.st_mode))
		assert_ok(file_remove_tree(AT_FDCWD, full));
	else
		assert_int_equal(unlink(full), 0);
	free(full);
}

void print_of(struct world *w, const char *path, struct fingerprint *out)
{
	struct stage_stat st;
	enum problem problem;

	assert_ok(door_read(catalog_door(w->s->catalog), path_of(path), out, &st, &problem, NULL, NULL));
}

/* --- acts ---------------------------------------------------------------------------------------------------------- */

struct path path_of(const char *s)
{
	struct path p;

	assert_ok(path_check(&p, s));
	return p;
}

struct act_request request_of(struct person *who, const char *note)
{
	struct act_request rq = { .actor = who, .note = note, .address = "192.0.2.1" };

	uuid_new(&rq.op);
	return rq;
}

enum err act_now(struct world *w, struct person *who, const char *act, const char *path, bool recursive, struct act_answer *out)
{
	struct act_request rq = request_of(who, "a note");
	struct path p = path_of(path);
	struct file_act fa = { .act = act, .paths = &p, .n_paths = 1, .recursive = recursive, .as_staged = true };

	return act_files(w->s, w->t, &rq, &fa, out, NULL);
}

enum err sign_now(struct world *w, struct person *who, const char *path, bool recursive, struct act_answer *out)
{
	return act_now(w, who, "sign", path, recursive, out);
}

enum err act_expected(struct world *w, struct person *who, const char *act, const char *path, const struct sha256 *sha256,
    struct act_answer *out, struct selection *conflict)
{
	struct act_request rq = request_of(who, "");
	struct expected_file e = { path_of(path), *sha256, -1 };
	struct file_act fa = { .act = act, .expected = &e, .n_expected = 1 };

	return act_files(w->s, w->t, &rq, &fa, out, conflict);
}

/* --- looking ------------------------------------------------------------------------------------------------------- */

enum file_state state_now(struct world *w, const char *path)
{
	struct arena *a = arena_new();
	struct catalog_entry e;
	enum file_state state = STATE_COUNT;

	assert_ok(catalog_refresh_file(w->s->catalog, path_of(path)));
	if (!catalog_get(w->s->catalog, path_of(path), &e, a) && !e.is_dir)
		state = e.state;
	arena_free(a);
	return state;
}

char *exported(struct world *w, const char *path)
{
	char *full = mem_printf("%s%s", export_path(w->s->export), path);
	struct buf b = BUF_INIT(64u << 20);
	char *out = NULL;

	if (!file_read(AT_FDCWD, full, &b))
		out = mem_dupn(buf_text(&b), b.len);
	buf_release(&b);
	free(full);
	return out;
}

bool is_exported(struct world *w, const char *path)
{
	char *bytes = exported(w, path);

	free(bytes);
	return bytes != NULL;
}

char *run(const char *const *argv)
{
	struct buf out = BUF_INIT(64u << 20);
	struct spawn_result r;
	struct spawn s = { .argv = argv, .out = &out, .deadline_us = 120 * CLOCK_SECOND };
	char *text;

	assert_ok(spawn_run(&s, &r));
	if (r.status)
		fail_msg("%s %s: status %d: %s", argv[0], argv[1], r.status, buf_text(&out));
	while (out.len && out.p[out.len - 1] == '\n')
		out.p[--out.len] = '\0';
	text = mem_dup(buf_text(&out));
	buf_release(&out);
	return text;
}

uint64_t head_seq(struct world *w, struct site *s)
{
	struct db_head head;

	assert_ok(db_head_get(tools_db(w->t), s->name, node_key_id(w->key), &head));
	return head.seq;
}

static void check_log(struct world *w, struct site *s)
{
	char *signers = mem_printf("gpg.ssh.allowedSignersFile=%s", w->signers), ref[128];
	const char *argv[] = { "git", "-C", s->repo_dir, "-c", signers, "log", "--format=%G? %s", site_log_ref(s, ref), NULL };
	const char *fsck[] = { "git", "-C", s->repo_dir, "fsck", "--strict", "--no-dangling", NULL };
	char *out = run(argv), *save = NULL;
	uint64_t n = 0;

	for (char *line = strtok_r(out, "\n", &save); line; line = strtok_r(NULL, "\n", &save), n++)
		if (line[0] != 'G')
			fail_msg("%s: a commit does not verify: %s", s->name, line);
	assert_int_equal(n, head_seq(w, s));
	free(out);
	free(run(fsck));
	free(signers);
}

struct tree_check {
	struct world *w;
	size_t n;
};

static enum err check_file(void *arg, struct path path, const struct blob_id *blob, bool exec)
{
	struct tree_check *c = arg;
	struct arena *a = arena_new();
	struct db_state_row row;
	struct sha256 now;
	char *bytes, *full = mem_printf("%s%s", export_path(c->w->s->export), path.s);
	struct stat st;

	assert_ok(db_state_get(tools_db(c->w->t), c->w->s->name, path, &row, a));
	assert_true(approval_stands(row.approval));
	assert_memory_equal(row.blob.b, blob->b, BLOB_ID_SIZE);
	assert_int_equal(row.print.exec, exec);
	assert_int_equal(stat(full, &st), 0);
	assert_int_equal((uint64_t)st.st_size, row.print.size);
	assert_int_equal((st.st_mode & 0100) != 0, exec);
	bytes = exported(c->w, path.s);
	assert_non_null(bytes);
	sha256_of(&now, bytes, row.print.size);
	assert_true(sha256_equal(&now, &row.print.sha256));
	free(bytes);
	free(full);
	arena_free(a);
	c->n++;
	return ERR_OK;
}

static bool count_row(void *arg, const struct db_state_row *row)
{
	if (approval_stands(row->approval))
		++*(size_t *)arg;
	return true;
}

static size_t exported_files;
static int count_file(const char *path, const struct stat *st, int kind, struct FTW *ftw)
{
	(void)path;
	(void)ftw;
	if (kind == FTW_F)
		exported_files++;
	else
		assert_int_equal(kind, FTW_D);
	assert_true(S_ISREG(st->st_mode) || S_ISDIR(st->st_mode));
	return 0;
}

void check_all(struct world *w)
{
	struct tree_check c = { w, 0 };
	struct db_head head;
	struct blob_id ref;
	struct repo *repo;
	char name[128];
	size_t rows = 0;

	check_log(w, w->s);
	check_log(w, w->installation);
	assert_ok(tools_repo(w->t, w->s, &repo));
	assert_ok(db_head_get(tools_db(w->t), w->s->name, node_key_id(w->key), &head));
	assert_ok(repo_ref_get(repo, site_log_ref(w->s, name), &ref));
	assert_true(blob_id_equal(&ref, &head.commit));
	assert_ok(repo_walk(repo, &head.commit, check_file, &c));
	assert_ok(db_state_all(tools_db(w->t), w->s->name, count_row, &rows));
	assert_int_equal(rows, c.n);
	assert_int_equal(w->s->approved_files, c.n);
	exported_files = 0;
	assert_int_equal(nftw(export_path(w->s->export), count_file, 16, FTW_PHYS), 0);
	assert_int_equal(exported_files, c.n);
}
