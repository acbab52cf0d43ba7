/* The archive, member by member, in the one order that they may have. Nothing in it is believed. */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/sys.h"
#include "evidence/verify.h"
#include "repo/sshsig.h"

#define PAPER_LIMIT ((size_t)1 << 20)
#define PIECE ((size_t)256 * 1024)

/* --- the members, in their order ------------------------------------------------------------------------------------ */

static enum err read_paper(struct archive_in *a, const char *name, uint64_t size, struct buf *out)
{
	char *p;
	enum err e;

	if (size > out->limit)
		return err_set(ERR_INPUT, "%s is larger than it can be", name);
	p = mem_alloc((size_t)size + 1);
	e = archive_read(a, p, (size_t)size);
	if (!e)
		buf_add(out, p, (size_t)size);
	free(p);
	return e;
}

/* Bytes in pieces: to a digest, to a temporary file, or to all of what a version's bytes have to be. */
struct sink { struct sha256_stream *sum; int fd; struct digest_stream *both; struct object_hash *hash; };

static enum err read_into(struct archive_in *a, uint64_t size, const struct sink *to)
{
	char *piece = mem_alloc(PIECE);
	enum err e = ERR_OK;

	while (!e && size) {
		size_t n = size < PIECE ? (size_t)size : PIECE;

		e = archive_read(a, piece, n);
		size -= n;
		if (e)
			break;
		if (to->sum)
			sha256_stream_add(to->sum, piece, n);
		if (to->both)
			digest_stream_add(to->both, piece, n);
		if (to->hash)
			object_hash_add(to->hash, piece, n);
		if (to->fd >= 0 && sys_write_all(to->fd, piece, n))
			e = err_sys(ERR_FAILED, "cannot write a temporary file");
	}
	free(piece);
	return e;
}

static enum err read_bytes(struct check *c, struct archive_in *a, const char *name, uint64_t size)
{
	struct sink to = { .fd = -1, .both = digest_stream_new(), .hash = object_hash_new("blob", size) };
	struct byte_file f = { .size = size };
	struct sha256 named;
	enum err e = read_into(a, size, &to);

	digest_stream_end(to.both, &f.md5, &f.sha256);
	digest_stream_free(to.both);
	object_hash_end_free(to.hash, &f.blob);
	if (e)
		return e;
	if (!hex_parse(named.b, sizeof(named.b), name) || !sha256_equal(&named, &f.sha256)) {
		verify_failed(c, "bytes", name, "its bytes have another SHA-256 than its name says");
		return ERR_OK;
	}
	if (c->n_files && memcmp(c->files[c->n_files - 1].sha256.b, f.sha256.b, sizeof(f.sha256.b)) >= 0)
		return err_set(ERR_INPUT, "files/ is not in order");
	if (c->n_files == c->files_cap)
		c->files = mem_grow(c->files, &c->files_cap, c->n_files + 1, sizeof(*c->files));
	c->files[c->n_files++] = f;
	c->bytes += size;
	return ERR_OK;
}

static enum err read_readme(struct check *c, struct archive_in *a, uint64_t size)
{
	struct buf text = BUF_INIT(PAPER_LIMIT);
	enum err e = read_paper(a, "README", size, &text);

	if (!e && (text.len != strlen(EVIDENCE_README) || memcmp(text.p, EVIDENCE_README, text.len) != 0))
		verify_failed(c, "readme", "README", "it is not the one that DryDock writes: do not do what it says");
	buf_release(&text);
	return e;
}

static enum err read_config(struct check *c, struct archive_in *a, uint64_t size)
{
	struct buf text = BUF_INIT(PAPER_LIMIT);
	enum err e = read_paper(a, "config", size, &text);

	if (!e && (text.len != strlen(EVIDENCE_CONFIG) || memcmp(text.p, EVIDENCE_CONFIG, text.len) != 0))
		verify_failed(c, "config", "repo.git/config", "it is not the one that DryDock writes: do not run git in it");
	buf_release(&text);
	return e;
}

static enum err read_pack(struct check *c, struct archive_in *a, const char *name, uint64_t size)
{
	const char *tmp = getenv("TMPDIR");
	struct sink to = { .fd = -1 };
	enum err e;

	if (size > EVIDENCE_PACK_LIMIT)
		return err_set(ERR_INPUT, "the pack is larger than it can be");
	snprintf(c->pack_name, sizeof(c->pack_name), "%s", name);
	/* a file without a name, which nobody else can open */
	to.fd = c->pack_fd = sys_open(AT_FDCWD, tmp && *tmp == '/' ? tmp : "/tmp", O_TMPFILE | O_RDWR, 0600);
	if (to.fd < 0)
		return err_sys(ERR_FAILED, "cannot make a temporary file in %s", tmp && *tmp == '/' ? tmp : "/tmp");
	e = read_into(a, size, &to);
	c->pack_size = size;
	return e;
}

/* What stands at a place of the archive. Some members come once, files/ and refs as often as they do. */
enum place { AT_README, AT_ABOUT, AT_SIGNERS, AT_VERSIONS, AT_MD5, AT_HEAD, AT_CONFIG, AT_PACK, AT_INDEX, AT_PROMISOR, AT_REFS, AT_FILES, AT_SUMS, AT_END };

static bool named(const char *name, const char *begin, const char *end)
{
	size_t n = strlen(name), b = strlen(begin), e = strlen(end);

	return n >= b + e && memcmp(name, begin, b) == 0 && strcmp(name + n - e, end) == 0;
}

/* The place of this member; AT_END: it has none here. */
static enum place place_of(const char *name, enum place last)
{
	static const char *const ONCE[] = { "README", "evidence.json", "allowed_signers", "versions", "MD5SUMS", "repo.git/HEAD", "repo.git/config" };
	const enum place next = last + 1;

	if (last == AT_REFS && named(name, "files/", ""))
		return AT_FILES;
	if (last >= AT_PROMISOR && last <= AT_REFS && named(name, "repo.git/" LOG_REF_PREFIX, ""))
		return AT_REFS;
	if (last == AT_FILES && named(name, "files/", ""))
		return AT_FILES;
	if (last >= AT_REFS && strcmp(name, "SHA256SUMS") == 0)
		return AT_SUMS;
	if (next == AT_PACK && named(name, "repo.git/objects/pack/pack-", ".pack"))
		return AT_PACK;
	if (next == AT_INDEX && named(name, "repo.git/objects/pack/pack-", ".idx"))
		return AT_INDEX;
	if (next == AT_PROMISOR && named(name, "repo.git/objects/pack/pack-", ".promisor"))
		return AT_PROMISOR;
	return next <= AT_CONFIG && strcmp(name, ONCE[next]) == 0 ? next : AT_END;
}

static enum err read_sums(struct check *c, struct archive_in *a, uint64_t size)
{
	const struct buf *want = archive_sums(a);
	struct buf text = BUF_INIT(want->limit);
	enum err e = buf_check(want);

	if (!e)
		e = read_paper(a, "SHA256SUMS", size, &text);
	if (!e && (text.len != want->len || memcmp(buf_text(&text), buf_text(want), text.len) != 0))
		verify_failed(c, "sums", "SHA256SUMS", "it is not of these files");
	buf_release(&text);
	return e;
}

static enum err read_member(struct check *c, struct archive_in *a, enum place at, const char *name, uint64_t size)
{
	struct sink to = { .fd = -1 };
	enum err e;

	switch (at) {
	case AT_README: return read_readme(c, a, size);
	case AT_ABOUT:
		e = read_paper(a, name, size, &c->about_text);
		return e ? e : papers_about_read(&c->about, &c->about_text, c->arena);
	case AT_SIGNERS: return read_paper(a, name, size, &c->signers_text);
	case AT_VERSIONS:
		to.sum = sha256_stream_new();
		e = read_into(a, size, &to);
		sha256_stream_end_free(to.sum, &c->versions);
		return e;
	case AT_MD5: return read_paper(a, name, size, &c->md5_text);
	case AT_HEAD: return read_paper(a, name, size, &c->head_text);
	case AT_CONFIG: return read_config(c, a, size);
	case AT_PACK: return read_pack(c, a, name, size);
	case AT_INDEX:
	case AT_PROMISOR:
		/* the same name as the pack's */
		if (strncmp(name, c->pack_name, strlen(c->pack_name) - strlen("pack")) != 0)
			return err_set(ERR_INPUT, "pack and index have different names");
		if (at == AT_PROMISOR)
			return size ? err_set(ERR_INPUT, "a member of the archive is not empty") : ERR_OK;
		return read_paper(a, name, size, &c->index_text);
	case AT_REFS:
		if (c->n_refs == c->about.n_logs || strcmp(name + strlen("repo.git/" LOG_REF_PREFIX), c->about.logs[c->n_refs].node) != 0)
			return err_set(ERR_INPUT, "the archive has a ref that evidence.json does not name");
		return read_paper(a, name, size, &c->refs[c->n_refs++]);
	case AT_FILES: return read_bytes(c, a, name + strlen("files/"), size);
	case AT_SUMS: return read_sums(c, a, size);
	case AT_END: break;
	}
	return err_set(ERR_INPUT, "a member of the archive does not belong there: %.100s", name);
}

enum err verify_members(struct check *c, int fd)
{
	struct archive_in *a;
	char name[ARCHIVE_NAME + 1];
	int last = -1;
	uint64_t size;
	bool got;
	enum err e = archive_in_new(&a, fd);

	if (e)
		return e;
	while (!(e = archive_next(a, name, &size, &got)) && got) {
		const char *inside = name + strlen(EVIDENCE_PLACE);
		const enum place at = last < 0 ? (strcmp(inside, "README") ? AT_END : AT_README) : last == AT_SUMS ? AT_END : place_of(inside, (enum place)last);

		e = read_member(c, a, at, inside, size);
		if (e)
			break;
		last = (int)at;
	}
	if (!e && last != AT_SUMS)
		e = err_set(ERR_INPUT, "the archive is not complete");
	archive_in_free(a);
	return e;
}
