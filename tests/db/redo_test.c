/* The end of the log of a killed server: what is stale there is cut off, what is not is left alone. */
#include "onedb.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/spawn.h"
#include "db/internal.h"
#include "db/redo.h"

#define RING_AT 12288
#define BLOCK 4096
#define SECTOR 512
#define BURST 200 /* changes in one transaction */

/* Killed, and gone: its log is locked by nobody. Nothing starts it again yet. */
static void kill_server(void)
{
	pid_t pid = server_pid();
	/* All of its threads have ended then, and their files are closed. */
	struct pollfd p = { .fd = (int)syscall(SYS_pidfd_open, pid, 0), .events = POLLIN };
	assert_true(p.fd >= 0);
	assert_int_equal(kill(pid, SIGKILL), 0);
	assert_int_equal(poll(&p, 1, 30000), 1);
	close(p.fd);
}

static void server_back(void)
{
	for (int i = 0; private_db_supervise(t->server); i++) {
		if (i > 6000)
			fail_msg("the server does not come back: %s", err_text());
		clock_sleep(CLOCK_SECOND / 100);
	}
}

/* What a server's own words say about where its log ends. */
static uint64_t said_end(const char *text)
{
	static const char words[] = "End of log at LSN=";
	const char *last = NULL;

	for (const char *p = text; (p = strstr(p, words)); p++)
		last = p;
	return last ? strtoull(last + sizeof(words) - 1, NULL, 10) : 0;
}

static uint64_t end_in_log(void)
{
	struct buf text = BUF_INIT(16 << 20);

	OK(file_read(AT_FDCWD, in_dir("db.log"), &text));
	uint64_t lsn = said_end(buf_text(&text));
	buf_release(&text);
	return lsn;
}

/* InnoDB's own recovery of a copy, with nobody looking at the log before. */
static uint64_t end_without_us(void)
{
	char copy[300], datadir[320], tmpdir[320];
	struct buf out = BUF_INIT(1 << 20);
	struct spawn_result r;

	snprintf(copy, sizeof(copy), "%s", in_dir("copy"));
	const char *cp[] = { "cp", "-a", in_dir("db"), copy, NULL };
	struct spawn s = { .argv = cp, .deadline_us = 60 * CLOCK_SECOND };
	OK(spawn_run(&s, &r));
	assert_int_equal(r.status, 0);
	snprintf(datadir, sizeof(datadir), "--datadir=%s", copy);
	snprintf(tmpdir, sizeof(tmpdir), "--tmpdir=%s", copy);
	const char *argv[] = { "mariadbd", "--no-defaults", "--bootstrap", "--skip-networking", datadir, tmpdir, "--innodb-log-file-size=32M",
		geteuid() == 0 ? "--user=root" : NULL, NULL };
	s = (struct spawn){ .argv = argv, .deadline_us = 120 * CLOCK_SECOND, .out = &out };
	/* How it ends is its own affair: it may abort over what it has read. */
	OK(spawn_run(&s, &r));
	assert_false(r.timed_out);
	uint64_t lsn = said_end(buf_text(&out));
	if (!lsn)
		print_error("%s\n", buf_text(&out));
	buf_release(&out);
	OK(file_remove_tree(AT_FDCWD, copy));
	return lsn;
}

static enum err burst(struct db *db, void *arg)
{
	enum err e = ERR_OK;
	uint64_t v;

	for (int i = 0; i < BURST && !e; i++)
		e = db_counter_next(db, arg, &v);
	return e;
}

static uint64_t write_some(const char *id, unsigned bursts)
{
	struct db *db = testdb_connect(t);
	uint64_t v;

	for (unsigned i = 0; i < bursts; i++)
		OK(tx_run(db, burst, (void *)(uintptr_t)id, NULL));
	OK(db_counter_next(db, id, &v));
	db_close(db);
	return v;
}

static uint64_t value_after(const char *id)
{
	struct db *db = testdb_connect(t);
	uint64_t v;

	OK(db_counter_next(db, id, &v));
	db_close(db);
	return v - 1;
}

/* --- the log as bytes ---------------------------------------------------------------------------------------------- */

static void put_bytes(off_t at, const void *p, size_t n)
{
	int fd = open(in_dir("db/ib_logfile0"), O_WRONLY | O_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(pwrite(fd, p, n, at), n);
	close(fd);
}

static void get_bytes(off_t at, void *p, size_t n)
{
	int fd = open(in_dir("db/ib_logfile0"), O_RDONLY | O_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(pread(fd, p, n, at), n);
	close(fd);
}

/*
 * What the fault leaves: the rest of the last block as it was some blocks before. Whether that gives records that count
 * depends on where the older block's happen to begin, so one after the other is tried. In the ring's first round a number
 * is also the place in the file. Returns how many bytes were taken for records.
 */
static uint64_t forge(uint64_t end, unsigned unit)
{
	uint8_t was[BLOCK], old[BLOCK];
	size_t rest = unit - end % unit;
	struct redo_end got;

	get_bytes((off_t)end, was, rest);
	for (uint64_t back = unit; back + RING_AT + BLOCK < end; back += unit) {
		get_bytes((off_t)(end - back), old, rest);
		if (old[0] <= 1)
			continue;
		put_bytes((off_t)end, old, rest);
		OK(redo_mend(in_dir("db"), &got));
		assert_true(got.known);
		assert_int_equal(got.lsn, end);
		if (got.mended) {
			put_bytes((off_t)end, old, rest); /* as it was before */
			return got.stale;
		}
	}
	put_bytes((off_t)end, was, rest);
	return 0;
}

static void an_old_piece_behind_the_end(void **state)
{
	(void)state;
	struct redo_end got;
	uint64_t stale = 0, v;
	unsigned unit = BLOCK;
	int tries = 0;

	/* Where the end lies within its block is not ours to say: with no room behind it there is nothing to forge. */
	do {
		assert_true(++tries < 20);
		v = write_some("stale", 10);
		kill_server();
		OK(redo_mend(in_dir("db"), &got));
		assert_true(got.known);
		for (unit = BLOCK; !stale && unit >= SECTOR; unit /= BLOCK / SECTOR)
			stale = forge(got.lsn, unit);
		if (!stale)
			server_back();
	} while (!stale);
	/* InnoDB alone takes it for its newest records. */
	uint64_t taken = end_without_us();
	printf("# log ends at %llu, InnoDB alone reads up to %llu\n", (unsigned long long)got.lsn, (unsigned long long)taken);
	assert_int_equal(taken, got.lsn + stale);
	/* The supervisor cuts it off before it starts the next server. */
	server_back();
	assert_int_equal(end_in_log(), got.lsn);
	assert_int_equal(value_after("stale"), v);
}

static void a_log_that_is_whole(void **state)
{
	(void)state;
	struct redo_end first, again;

	for (int i = 0; i < 3; i++) {
		uint64_t v = write_some("whole", 1);

		kill_server();
		OK(redo_mend(in_dir("db"), &first));
		OK(redo_mend(in_dir("db"), &again));
		assert_true(first.known && again.known);
		assert_false(again.mended);
		assert_int_equal(first.lsn, again.lsn);
		server_back();
		assert_int_equal(end_in_log(), first.lsn);
		assert_int_equal(value_after("whole"), v);
	}
}

/* The log is a ring of 32 MiB: its second round has the other sequence bit, its numbers are no places any more. */
static void around_the_ring(void **state)
{
	(void)state;
	struct db *owner = testdb_connect_owner(t);
	struct redo_end got;

	OK(db_plain(owner, "CREATE TABLE ring (id INT PRIMARY KEY, b LONGBLOB)", "ring"));
	OK(db_plain(owner, "INSERT INTO ring VALUES (1, REPEAT('x', 4000000))", "ring"));
	for (int i = 0; i < 8; i++)
		OK(db_plain(owner, "UPDATE ring SET b = REPEAT(CHAR(65 + CONNECTION_ID() % 20 + LENGTH(b) % 3), LENGTH(b) + 1)", "ring"));
	OK(db_plain(owner, "DROP TABLE ring", "ring"));
	db_close(owner);
	for (int i = 0; i < 3; i++) {
		uint64_t v = write_some("ring", 1);

		kill_server();
		OK(redo_mend(in_dir("db"), &got));
		assert_true(got.known);
		assert_true(got.lsn > (32u << 20));
		server_back();
		assert_int_equal(end_in_log(), got.lsn);
		assert_int_equal(value_after("ring"), v);
	}
}

/* --- what is not ours to touch ------------------------------------------------------------------------------------- */

static void other_files(void **state)
{
	(void)state;
	uint8_t head[RING_AT], broken[RING_AT], now[RING_AT];
	static const struct {
		const char *what;
		size_t at, n;
	} cases[] = { { "an older or newer format", 0, 1 }, { "encrypted", 0, 1 }, { "no checkpoint", 4096, 8192 }, { "a start in the future", 8, 1 } };
	struct redo_end got;

	kill_server();
	get_bytes(0, head, sizeof(head));
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		memcpy(broken, head, sizeof(head));
		for (size_t k = 0; k < cases[i].n; k++)
			broken[cases[i].at + k] ^= i == 1 ? 0x80 : 0x41;
		put_bytes(0, broken, sizeof(broken));
		OK(redo_mend(in_dir("db"), &got));
		if (got.known || got.mended)
			fail_msg("%s", cases[i].what);
		get_bytes(0, now, sizeof(now));
		assert_memory_equal(now, broken, sizeof(now));
	}
	put_bytes(0, head, sizeof(head));
	server_back();
	/* Cut short, empty, absent. */
	OK(file_mkdirs(in_dir("odd"), 0700));
	OK(redo_mend(in_dir("odd"), &got));
	assert_false(got.known);
	for (size_t n = 0; n <= sizeof(head); n += 4095) {
		OK(file_write(AT_FDCWD, in_dir("odd/ib_logfile0"), head, n, 0600));
		OK(redo_mend(in_dir("odd"), &got));
		assert_false(got.known);
	}
	/* Not followed, and not silently passed by either: a server that starts on it would use it. */
	assert_int_equal(unlink(in_dir("odd/ib_logfile0")), 0);
	assert_int_equal(symlink(in_dir("db/ib_logfile0"), in_dir("odd/ib_logfile0")), 0);
	GIVES(ERR_FAILED, redo_mend(in_dir("odd"), &got));
	OK(file_remove_tree(AT_FDCWD, in_dir("odd")));
}

/* Noise where records should be: the end is found before it, nothing is read outside the file. */
static void noise(void **state)
{
	(void)state;
	struct redo_end got, first;
	uint8_t bytes[BLOCK];
	uint32_t x = 2463534242u;

	(void)write_some("noise", 1);
	kill_server();
	OK(redo_mend(in_dir("db"), &first));
	for (int round = 0; round < 200; round++) {
		size_t n = 1 + (size_t)round * 20;

		for (size_t i = 0; i < n; i++) {
			x ^= x << 13, x ^= x >> 17, x ^= x << 5;
			bytes[i] = round % 3 == 0 ? 0xf0 : (uint8_t)x; /* numbers as long as they get, too */
		}
		off_t at = (off_t)(RING_AT + (first.lsn - RING_AT) % ((32u << 20) - RING_AT));
		if (at + (off_t)n > (32 << 20))
			n = (size_t)((32 << 20) - at);
		put_bytes(at, bytes, n);
		OK(redo_mend(in_dir("db"), &got));
		assert_int_equal(got.lsn, first.lsn);
		assert_false(got.mended);
	}
	put_bytes((off_t)(RING_AT + (first.lsn - RING_AT) % ((32u << 20) - RING_AT)), "", 1);
	server_back();
	assert_int_equal(end_in_log(), first.lsn);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_old_piece_behind_the_end), /* first: in the ring's first round */
		cmocka_unit_test(a_log_that_is_whole),
		cmocka_unit_test(other_files),
		cmocka_unit_test(noise),
		cmocka_unit_test(around_the_ring),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
