#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/digest.h"
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
	if (one && (!two || first.number > second.number))
		second = first;
	if (one || two) {
		second.fd = s->fd;
		*s = second;
	}
	return ERR_OK;
}

void state_close(struct state *s)
{
	if (s->fd >= 0)
		sys_close(s->fd);
	s->fd = -1;
}

static enum err write_next(struct state *s, bool durable)
{
	char slot[SLOT];

	s->number++;
	slot_encode(s, slot);
	if (sys_pwrite_all(s->fd, slot, SLOT, (off_t)(s->number % 2 * SLOT)) != 0 || (durable && sys_fdatasync(s->fd) != 0))
		return err_sys(ERR_FAILED, "cannot write " FILE_NAME);
	return ERR_OK;
}

enum err state_begin(struct state *s, const struct blob_id *to)
{
	bool known = s->n == 0;

	for (size_t i = 0; i < s->n; i++)
		known |= blob_id_equal(&s->commits[i], to);
	if (!known && s->n == STATE_COMMITS)
		s->n = 0; /* so many tries without an end: take nothing for granted */
	else if (!known)
		s->commits[s->n++] = *to;
	return write_next(s, true);
}

enum err state_settle(struct state *s, const struct blob_id *to)
{
	s->n = 1;
	s->commits[0] = *to;
	return write_next(s, false);
}
