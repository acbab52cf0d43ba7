#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/digest.h"
#include "base/failpoint.h"
#include "base/file.h"
#include "base/sys.h"
#include "export/internal.h"

#define FILE_NAME "export.at"
#define SLOT ((size_t)4096)
#define WORD "drydock-export"
#define ID_HEX (2 * BLOB_ID_SIZE)

/* One line, filled up with newlines: "drydock-export NUMBER COUNT ID... SHA256". */
static void slot_encode(const struct state *s, char out[SLOT])
{
	struct buf b = BUF_INIT(SLOT);
	struct sha256 sum;

	buf_fmt(&b, WORD " %llu %zu", (unsigned long long)s->number, s->n);
	for (size_t i = 0; i < s->n; i++) {
		buf_char(&b, ' ');
		buf_hex(&b, s->commits[i].b, BLOB_ID_SIZE);
	}
	sha256_of(&sum, b.p, b.len);
	buf_char(&b, ' ');
	buf_hex(&b, sum.b, sizeof(sum.b));
	memset(out, '\n', SLOT);
	memcpy(out, b.p, b.len);
	buf_release(&b);
}

static bool slot_decode(struct state *s, const char in[SLOT])
{
	char line[SLOT + 1], hex[ID_HEX + 1], *end, *p;
	unsigned long long number, n;
	struct sha256 sum, want;

	memcpy(line, in, SLOT);
	line[SLOT] = '\0';
	line[strcspn(line, "\n")] = '\0';
	end = strrchr(line, ' ');
	if (!end || strncmp(line, WORD " ", sizeof(WORD)) != 0 || !hex_parse(want.b, sizeof(want.b), end + 1))
		return false;
	sha256_of(&sum, line, (size_t)(end - line));
	if (!sha256_equal(&sum, &want))
		return false;
	*end = '\0';
	number = strtoull(line + sizeof(WORD), &p, 10);
	n = strtoull(p, &p, 10);
	if (n > STATE_COMMITS || strlen(p) != n * (ID_HEX + 1))
		return false;
	for (size_t i = 0; i < n; i++, p += ID_HEX + 1) {
		memcpy(hex, p + 1, ID_HEX);
		hex[ID_HEX] = '\0';
		if (!hex_parse(s->commits[i].b, BLOB_ID_SIZE, hex))
			return false;
	}
	s->number = number;
	s->n = (size_t)n;
	return true;
}

enum err state_open(struct state *s, int base, bool empty)
{
	char both[2 * SLOT];
	struct state first = { .fd = -1 }, second = { .fd = -1 };
	bool one, two;
	ssize_t n;
	enum err e;

	*s = (struct state){ .fd = -1 };
	if (!file_exists(base, FILE_NAME)) {
		first = (struct state){ .n = empty ? 1 : 0 };
		memset(both, '\n', sizeof(both));
		slot_encode(&first, both);
		e = file_write(base, FILE_NAME, both, sizeof(both), 0600);
		if (e)
			return e;
	}
	s->fd = sys_open(base, FILE_NAME, O_RDWR | O_NOFOLLOW | O_NONBLOCK, 0);
	if (s->fd < 0)
		return err_sys(ERR_FAILED, "cannot open " FILE_NAME);
	memset(both, '\n', sizeof(both));
	do
		n = pread(s->fd, both, sizeof(both), 0);
	while (n < 0 && errno == EINTR);
	if (n < 0) {
		e = err_sys(ERR_FAILED, "cannot read " FILE_NAME);
		state_close(s);
		return e;
	}
	one = slot_decode(&first, both);
	two = slot_decode(&second, both + SLOT);
	if (two && (!one || second.number > first.number)) {
		first = second;
		first.safe_slot = 1;
	}
	first.fd = s->fd;
	*s = first;
	/* what was read may be in memory only, if the process before this one died */
	if ((one || two) && sys_fdatasync(s->fd) != 0) {
		e = err_sys(ERR_FAILED, "cannot make " FILE_NAME " durable");
		state_close(s);
		return e;
	}
	if (!one && !two)
		s->n = 0;
	s->durable = one || two;
	return ERR_OK;
}

void state_close(struct state *s)
{
	if (s->fd >= 0)
		sys_close(s->fd);
	s->fd = -1;
}

/*
 * Into the slot that does not hold what is known to be on disk: a set that was not synced is overwritten before one that
 * was, so that a torn write always leaves a set that says enough.
 */
static enum err write_next(struct state *s, bool durable)
{
	const unsigned slot = 1 - s->safe_slot;
	char bytes[SLOT];

	s->number++;
	s->durable = false;
	slot_encode(s, bytes);
	FAILPOINT(export_state_made);
	if (sys_pwrite_all(s->fd, bytes, SLOT, (off_t)(slot * SLOT)) != 0 || (durable && sys_fdatasync(s->fd) != 0))
		return err_sys(ERR_FAILED, "cannot write " FILE_NAME);
	if (durable)
		s->safe_slot = slot;
	s->durable = durable;
	return ERR_OK;
}

static bool listed(const struct state *s, const struct blob_id *to)
{
	for (size_t i = 0; i < s->n; i++)
		if (blob_id_equal(&s->commits[i], to))
			return true;
	return false;
}

bool state_full(const struct state *s, const struct blob_id *to)
{
	return s->n == STATE_COMMITS && !listed(s, to);
}

enum err state_begin(struct state *s, const struct blob_id *to)
{
	if (s->n > 0 && listed(s, to))
		return s->durable ? ERR_OK : write_next(s, true);
	if (s->n == STATE_COMMITS)
		s->n = 0; /* so many tries without an end: take nothing for granted */
	else if (s->n > 0)
		s->commits[s->n++] = *to;
	return write_next(s, true);
}

enum err state_settle(struct state *s, const struct blob_id *to)
{
	s->n = 1;
	s->commits[0] = *to;
	return write_next(s, false);
}
