/*
 * acts_bench TREE [FILES [BASE]]: what sign costs on a copy of a real tree, beside git on the same files in the same
 * run. With BASE, that many small files are signed and committed before, and the tree is new in that large repository.
 * Prints a line for each figure. Under strace it shows how often an act syncs.
 */
#include "acts_world.h"
#include "base/log.h"

#include <ftw.h>
#include <sys/resource.h>

static struct world w;
static unsigned limit = 10000;
static unsigned copied;
static size_t root_len;

static double seconds(void)
{
	return (double)clock_boot() / CLOCK_SECOND;
}

#ifdef DRYDOCK_ENABLE_FAILPOINTS
/* Where the time of the large act goes. */
static double last_step;

static void show_step(const char *step)
{
	double now = seconds();

	printf("  until %-10s %8.3f s\n", step, now - last_step);
	last_step = now;
}
#endif

static int copy(const char *path, const struct stat *st, int kind, struct FTW *ftw)
{
	struct buf b = BUF_INIT(64u << 20);

	(void)ftw;
	if (kind != FTW_F || copied >= limit || st->st_size > 16 << 20)
		return 0;
	if (!file_read(AT_FDCWD, path, &b)) {
		put_bytes(&w, path + root_len, buf_text(&b), b.len);
		copied++;
	}
	buf_release(&b);
	return 0;
}

static double git(const char *dir, const char *script)
{
	const char *const env[] = { "PATH=/usr/bin:/bin", "HOME=/nonexistent", "GIT_AUTHOR_NAME=b", "GIT_AUTHOR_EMAIL=b@b.invalid",
		"GIT_COMMITTER_NAME=b", "GIT_COMMITTER_EMAIL=b@b.invalid", NULL };
	const char *const argv[] = { "/bin/sh", "-c", script, NULL };
	struct buf out = BUF_INIT(1u << 20);
	struct spawn s = { .argv = argv, .env = env, .cwd = dir, .out = &out };
	struct spawn_result r;
	double begin = seconds();

	if (spawn_run(&s, &r) || r.status) {
		fprintf(stderr, "%s: %s\n", script, buf_text(&out));
		exit(1);
	}
	buf_release(&out);
	return seconds() - begin;
}

static int by_time(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

#define ROUNDS 31

static double sign_one(void)
{
	double took[ROUNDS];
	struct act_answer a;

	for (int i = 0; i < ROUNDS; i++) {
		char text[64];
		double begin;

		snprintf(text, sizeof text, "<p>round %d</p>\n", i);
		put(&w, "/bench-page.html", text);
		begin = seconds();
		assert_ok(sign_now(&w, w.editor, "/bench-page.html", false, &a));
		took[i] = seconds() - begin;
	}
	qsort(took, ROUNDS, sizeof *took, by_time);
	return took[ROUNDS / 2];
}

static double git_one(const char *dir)
{
	double took[5];

	for (int i = 0; i < 5; i++) {
		char script[128];

		snprintf(script, sizeof script, "echo round %d > bench-page.html && git add bench-page.html && git commit -qm one", i);
		took[i] = git(dir, script);
	}
	qsort(took, 5, sizeof *took, by_time);
	return took[2];
}

/* Many small files, signed and committed before anything is measured. */
static void make_base(const char *peer, unsigned n)
{
	struct act_answer a;
	char *script;

	for (unsigned i = 0; i < n; i++) {
		char name[64], text[400];
		int used = snprintf(text, sizeof text, "<p>file %u of the base</p>\n", i);

		memset(text + used, 'a' + (int)(i % 26), sizeof text - (size_t)used);
		snprintf(name, sizeof name, "/base/%03u/%02u/f%u.html", i / 500, i / 25 % 20, i);
		put_bytes(&w, name, text, sizeof text);
	}
	assert_ok(sign_now(&w, w.editor, "/", true, &a));
	script = mem_printf("cp -a %s/. %s/ && cd %s && git add -A && git commit -qm base && sync", w.staging, peer, peer);
	git("/", script);
	free(script);
}

int main(int argc, char **argv)
{
	double begin, ours, theirs, alone, carried;
	struct act_answer a;
	struct rusage usage;
	char *peer, *script;

	if (argc < 2) {
		fprintf(stderr, "usage: acts_bench TREE [FILES]\n");
		return 2;
	}
	if (argc > 2)
		limit = (unsigned)strtoul(argv[2], NULL, 10);
	log_level_set(LOG_LEVEL_WARN);
	world_new(&w);
	peer = mem_printf("%s/peer", w.dir);
	script = mem_printf("mkdir %s && git -c init.defaultBranch=main init -q %s && mkdir %s.copy", peer, peer, peer);
	git("/", script);
	free(script);
	if (argc > 3)
		make_base(peer, (unsigned)strtoul(argv[3], NULL, 10));
	root_len = strlen(argv[1]);
	if (nftw(argv[1], copy, 32, FTW_PHYS)) {
		perror(argv[1]);
		return 1;
	}
	script = mem_printf("cp -a %s/. %s/ && sync", w.staging, peer);
	git("/", script);
	free(script);
	assert_ok(catalog_refresh(w.s->catalog, path_root()));

	begin = seconds();
#ifdef DRYDOCK_ENABLE_FAILPOINTS
	last_step = begin;
	failpoint_hook = show_step;
#endif
	w.s->carrier = true;
	assert_ok(sign_now(&w, w.editor, "/", true, &a));
	ours = seconds() - begin;
	assert_ok(site_carry(w.s, w.t));
	carried = seconds() - begin;
#ifdef DRYDOCK_ENABLE_FAILPOINTS
	failpoint_hook = NULL;
#endif
	/* Beside a large repository the bar is git alone, as it comes; in a fresh one, all of it durable. */
	alone = git(peer, argc > 3 ? "git add -A && git commit -qm all" : "git -c core.fsync=all add -A && git -c core.fsync=all commit -qm all");
	script = mem_printf("git ls-files -z > ../list && rsync -a --from0 --files-from=../list . %s.copy && sync", peer);
	theirs = alone + git(peer, script);
	free(script);
	getrusage(RUSAGE_SELF, &usage);
	printf("answered after %8.3f s; ", ours);
	ours = carried;
	printf("sign %llu files        %8.3f s   git + rsync + sync %8.3f s   ratio %.3f   git alone %8.3f s   ratio %.3f   peak %ld MB\n",
	    (unsigned long long)a.files, ours, theirs, ours / theirs, alone, ours / alone, usage.ru_maxrss / 1024);

	assert_ok(sign_now(&w, w.editor, "/", true, &a) == ERR_INPUT ? ERR_OK : ERR_FAILED);
	ours = sign_one();
	theirs = git_one(peer);
	printf("sign 1 file            %8.4f s   git add + commit   %8.4f s   ratio %.3f\n", ours, theirs, ours / theirs);
	free(peer);
	world_free(&w);
	world_end();
	return 0;
}
