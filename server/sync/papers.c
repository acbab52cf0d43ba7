/* The papers of a release for a receiver on production: heads, signatures, and what changed in the list of files. */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/failpoint.h"
#include "base/file.h"
#include "sync/internal.h"

static enum err write_head(struct site *s, struct actor_tools *t, int fd, const struct db_release *rel, struct sha256 *digest)
{
	struct arena *a = arena_new();
	struct release_papers papers;
	char name[64];
	enum err e = release_papers(s, t, rel, &papers, a);

	/* One of before there were heads, or of another node: the receiver says what it misses. */
	if (e || !papers.has_head || !papers.signature)
		goto out;
	*digest = papers.digest;
	snprintf(name, sizeof(name), "%llu", (unsigned long long)rel->number);
	e = file_write_fast(fd, name, papers.bytes, papers.len, 0600);
	snprintf(name, sizeof(name), "%llu.sig", (unsigned long long)rel->number);
	FAILPOINT_OR(e, papers_head);
	if (!e)
		e = file_write_fast(fd, name, papers.signature, strlen(papers.signature), 0600);
out:
	arena_free(a);
	return e;
}

/* The changes of the key, for a receiver that has not heard of them. */
static enum err write_keys(struct site *s, int fd)
{
	size_t n;
	const struct site_key_paper *papers = site_key_papers(s, &n);
	char name[64];
	enum err e = ERR_OK;

	for (size_t i = 0; i < n && !e; i++) {
		snprintf(name, sizeof(name), "key-%zu", i + 1);
		e = file_write_fast(fd, name, papers[i].statement, papers[i].len, 0600);
		snprintf(name, sizeof(name), "key-%zu.sig", i + 1);
		if (!e)
			e = file_write_fast(fd, name, papers[i].signature, strlen(papers[i].signature), 0600);
	}
	return e;
}

enum err papers_begin(const char *dir)
{
	enum err e = file_remove_tree(AT_FDCWD, dir);

	FAILPOINT_OR(e, papers_gone);
	return e ? e : file_mkdirs(dir, 0700);
}

enum err papers_write(struct site *s, struct actor_tools *t, const char *dir, const struct db_release *rel, uint64_t after, uint64_t *from, struct sha256 *head)
{
	struct arena *a = arena_new();
	struct db_release at = { .number = after };
	struct caught caught;
	bool whole = true;
	int fd = -1;
	enum err e = ERR_OK;

	if ((fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC)) < 0)
		e = err_sys(ERR_FAILED, "%s", dir);
	if (!e)
		e = caught_up(tools_db(t), s, rel->seq, &caught, a);
	while (!e && at.number < rel->number) {
		e = db_release_after(tools_db(t), s->name, at.number, &at, a);
		/* Of another history than production's: the chain goes on behind them. */
		if (!e && at.seq > caught.seq)
			e = write_head(s, t, fd, &at, head);
	}
	if (!e)
		e = write_keys(s, fd);
	if (!e)
		e = site_manifest_difference(s, t, *from, rel->number, fd, "list", &whole);
	FAILPOINT_OR(e, papers_list);
	if (whole)
		*from = 0;
	if (fd >= 0)
		(void)close(fd);
	arena_free(a);
	return e;
}
