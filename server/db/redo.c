/* The log: 12,288 bytes of header, then a ring of mini-transactions: records, a sequence bit, the CRC-32C of the records. */
#include "db/redo.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "base/sys.h"

#define FORMAT 0x50687973u /* "Phys": 10.8 and later, not encrypted */
#define RING_AT 12288 /* the header's bytes */
#define CHECKPOINT_A 4096
#define CHECKPOINT_B 8192
#define CHECKPOINT_CRC 60
#define BLOCK 4096 /* the largest unit in which the server writes; the smallest is SECTOR */
#define SECTOR 512
#define SIZE_LIMIT ((off_t)1 << 32)
#define MTR_LIMIT (64u << 20) /* a mini-transaction longer than that is none */

struct ring {
	const uint8_t *p; /* the file from RING_AT */
	uint64_t size, first; /* first: the log sequence number of its first byte in the first round */
};

/* Where in the last block a mini-transaction begins; each has at least 6 bytes. */
struct starts {
	uint64_t block, lsn[BLOCK / 6 + 1];
	unsigned n;
};

static uint32_t crc_table[256];

static void crc_prepare(void)
{
	for (uint32_t i = 0; i < 256; i++) {
		uint32_t c = i;

		for (int k = 0; k < 8; k++)
			c = c & 1 ? c >> 1 ^ 0x82f63b78u : c >> 1;
		crc_table[i] = c;
	}
}

static uint32_t crc_add(uint32_t c, const uint8_t *p, size_t n)
{
	while (n--)
		c = c >> 8 ^ crc_table[(c ^ *p++) & 0xff];
	return c;
}

static uint64_t number(const uint8_t *p, unsigned bytes)
{
	uint64_t v = 0;

	while (bytes--)
		v = v << 8 | *p++;
	return v;
}

static uint64_t offset(const struct ring *r, uint64_t lsn)
{
	return (lsn - r->first) % r->size;
}

static uint8_t at(const struct ring *r, uint64_t lsn)
{
	return r->p[offset(r, lsn)];
}

static uint32_t crc_of(const struct ring *r, uint64_t from, uint64_t to)
{
	uint32_t c = ~0u;

	while (from < to) {
		uint64_t o = offset(r, from), n = to - from < r->size - o ? to - from : r->size - o;

		c = crc_add(c, r->p + o, n);
		from += n;
	}
	return ~c;
}

/* A number of one to five bytes; the first says how many. Returns 0 for none. */
static unsigned varint(const struct ring *r, uint64_t lsn, uint64_t *out)
{
	static const uint64_t base[] = { 0, 0x80, 0x4080, 0x204080, 0x10204080 };
	uint8_t lead = at(r, lsn);
	unsigned more = lead < 0x80 ? 0 : lead < 0xc0 ? 1 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;

	if (lead > 0xf0)
		return 0;
	*out = more == 4 ? 0 : lead & (0x7fu >> more);
	for (unsigned i = 1; i <= more; i++)
		*out = *out << 8 | at(r, lsn + i);
	*out += base[more];
	return more + 1;
}

/* Behind the mini-transaction at lsn; 0 if there is none. */
static uint64_t mtr_end(const struct ring *r, uint64_t lsn, uint64_t limit)
{
	uint64_t p = lsn;

	if (limit > lsn + MTR_LIMIT)
		limit = lsn + MTR_LIMIT;
	while (p + 5 <= limit && at(r, p) > 1) {
		uint64_t len = at(r, p++) & 15, v;

		if (!len) {
			unsigned n = varint(r, p, &v);

			if (!n || v > MTR_LIMIT)
				return 0;
			len = v + 15;
			p += n;
			len -= n;
		}
		p += len;
	}
	if (p == lsn || p + 5 > limit || at(r, p) != !((p - r->first) / r->size & 1))
		return 0;
	uint32_t want = 0;
	for (unsigned i = 1; i <= 4; i++)
		want = want << 8 | at(r, p + i);
	return crc_of(r, lsn, p) == want ? p + 5 : 0;
}

/* From the checkpoint to the end. */
static uint64_t find_end(const struct ring *r, uint64_t checkpoint, struct starts *s)
{
	uint64_t lsn = checkpoint, limit = checkpoint + r->size, next;

	s->n = 0;
	s->block = 0;
	while ((next = mtr_end(r, lsn, limit))) {
		uint64_t block = (lsn - r->first) / BLOCK;

		if (block != s->block)
			s->n = 0;
		s->block = block;
		s->lsn[s->n++] = lsn;
		lsn = next;
	}
	return lsn;
}

/*
 * How many bytes before `to` are the same `back` bytes earlier. A buffer keeps its place within a block, so what is stale
 * stood at the same place of an older one, up to the block's end.
 */
static uint64_t same_before(const struct ring *r, uint64_t from, uint64_t to, uint64_t back)
{
	uint64_t p = to;

	while (p > from && at(r, p - 1) == at(r, p - 1 - back))
		p--;
	return to - p;
}

/* Where the stale records begin; end if there are none. */
static uint64_t find_stale(const struct ring *r, uint64_t checkpoint, uint64_t end, const struct starts *s)
{
	uint64_t best = end;

	if (s->n == 0)
		return end;
	for (unsigned unit = BLOCK; unit >= SECTOR; unit /= BLOCK / SECTOR) {
		uint64_t start = end - offset(r, end) % unit, stop = start + unit;

		if (start == end)
			continue;
		for (uint64_t back = unit; start >= checkpoint + back; back += unit) {
			uint64_t from = stop - same_before(r, start, stop, back);

			for (unsigned i = 0; i < s->n && from < best; i++)
				if (s->lsn[i] >= from && s->lsn[i] < best)
					best = s->lsn[i];
		}
	}
	return best;
}

/* The newer of the two checkpoints; 0: none. */
static uint64_t newest_checkpoint(const uint8_t *file)
{
	static const size_t places[] = { CHECKPOINT_A, CHECKPOINT_B };
	uint64_t best = 0;

	for (size_t i = 0; i < 2; i++) {
		const uint8_t *p = file + places[i];
		uint64_t lsn = number(p, 8);

		if (~crc_add(~0u, p, CHECKPOINT_CRC) == number(p + CHECKPOINT_CRC, 4) && lsn > best)
			best = lsn;
	}
	return best;
}

static enum err mend(int fd, const char *name, const uint8_t *file, size_t size, struct redo_end *out)
{
	struct ring r = { file + RING_AT, size - RING_AT, number(file + 8, 8) };
	struct starts s;

	crc_prepare();
	if (number(file, 4) != FORMAT)
		return ERR_OK;
	uint64_t checkpoint = newest_checkpoint(file);
	if (!checkpoint || checkpoint < r.first)
		return ERR_OK;
	uint64_t end = find_end(&r, checkpoint, &s);
	out->known = end > checkpoint;
	out->lsn = end;
	if (!out->known || at(&r, end) == 0)
		return ERR_OK;
	out->lsn = find_stale(&r, checkpoint, end, &s);
	out->stale = end - out->lsn;
	if (!out->stale)
		return ERR_OK;
	if (sys_pwrite_all(fd, "", 1, (off_t)(RING_AT + offset(&r, out->lsn))) || sys_fsync(fd))
		return err_sys(ERR_FAILED, "%s", name);
	out->mended = true;
	log_event(LOG_LEVEL_WARN, "db.private_log_end", "file", name, "lsn", log_u64(out->lsn), "stale_bytes", log_u64(out->stale), "message",
	    "old records behind the end of the killed database's log were cut off", NULL);
	return ERR_OK;
}

enum err redo_mend(const char *dir, struct redo_end *out)
{
	char name[4300];
	struct stat st;
	enum err e = ERR_OK;

	memset(out, 0, sizeof(*out));
	snprintf(name, sizeof(name), "%s/ib_logfile0", dir);
	int fd = sys_open(AT_FDCWD, name, O_RDWR | O_NOFOLLOW, 0);
	if (fd < 0)
		return errno == ENOENT ? ERR_OK : err_sys(ERR_FAILED, "%s", name);
	if (fstat(fd, &st)) {
		e = err_sys(ERR_FAILED, "%s", name);
	} else if (S_ISREG(st.st_mode) && st.st_size >= RING_AT + BLOCK && st.st_size <= SIZE_LIMIT && st.st_size % BLOCK == 0) {
		void *file = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);

		if (file == MAP_FAILED) {
			e = err_sys(ERR_FAILED, "%s", name);
		} else {
			e = mend(fd, name, file, (size_t)st.st_size, out);
			munmap(file, (size_t)st.st_size);
		}
	}
	if (sys_close(fd) && !e)
		e = err_sys(ERR_FAILED, "%s", name);
	return e;
}
