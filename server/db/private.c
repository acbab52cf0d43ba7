/*
 * The private MariaDB: a mariadbd of our own below the data directory, reachable by its socket only.
 *
 * It runs in a session of its own and outlives a crash of the daemon, which finds it again by the socket: the kernel says
 * who listens there. Its standard output, db.log, carries a lock as long as it lives, so that one which has no socket yet
 * (or no more) is waited for instead of being joined by a second. It is installed into db.new-... and renamed, so that an
 * interrupted installation starts over. Before each start the end of its log is looked at: see db/redo.h.
 */
#include "db/internal.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <mysqld_error.h>
#include <poll.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/failpoint.h"
#include "base/file.h"
#include "base/log.h"
#include "base/spawn.h"
#include "base/sys.h"
#include "db/redo.h"

#define PROGRAM_USER "drydock_program"
#define DATABASE "drydock"
#define POLL_US 5000
#define START_LIMIT (600 * CLOCK_SECOND) /* recovery after a crash may take its time */
#define START_NOTE (10 * CLOCK_SECOND) /* a line in the log that it does */
#define RESTART_WAIT (2 * CLOCK_SECOND) /* how long supervise waits for a server that it started */
#define RESTART_PAUSE_MAX (30 * CLOCK_SECOND)
#define STOP_LIMIT (60 * CLOCK_SECOND)
#define INSTALL_LIMIT (120 * CLOCK_SECOND)
#define INSTALL_ROOM (UINT64_C(160) << 20) /* bytes; it takes 128 MB until the first act, logs and temporary tables included */
#define UPGRADE_LIMIT (600 * CLOCK_SECOND)
#define ROOMY (INT64_C(256) << 20)
#define LOG_KEEP (8u << 20) /* db.log starts over past this size */

struct private_db {
	char *dir;
	unsigned max_connections;
	struct db_address owner, program;
	pid_t pid; /* 0: not running */
	int pidfd;
	bool up; /* it has answered since it was started */
	bool unsynced; /* just installed */
	int64_t started_at, pause; /* boot clock; the pause before the next start */
};

void private_db_owner(const struct private_db *p, struct db_address *out)
{
	*out = p->owner;
}

void private_db_program(const struct private_db *p, struct db_address *out)
{
	*out = p->program;
}

/* --- the process --------------------------------------------------------------------------------------------------- */

static enum err watch(struct private_db *p, pid_t pid)
{
	if (p->pidfd >= 0)
		close(p->pidfd);
	p->pid = pid;
	p->pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	if (p->pidfd < 0) {
		p->pid = 0;
		return err_sys(ERR_FAILED, "the private database (process %d) cannot be watched", (int)pid);
	}
	return ERR_OK;
}

/* True if it has ended; a child is reaped. */
static bool ended(struct private_db *p, int64_t wait_us)
{
	struct pollfd f = { .fd = p->pidfd, .events = POLLIN };
	siginfo_t info;

	if (!p->pid)
		return true;
	if (poll(&f, 1, (int)(wait_us / 1000)) <= 0)
		return false;
	/* Not our child (found again after a crash): nothing to reap, the error says no more than that. */
	if (waitid(P_PIDFD, (id_t)p->pidfd, &info, WEXITED | WNOHANG))
		errno = 0;
	close(p->pidfd);
	p->pidfd = -1;
	p->pid = 0;
	p->up = false;
	return true;
}

/* The end of db.log, for the sentence of an error. */
static void log_tail(const struct private_db *p, char *out, size_t size)
{
	char name[4096], text[16384];
	ssize_t n = 0;

	out[0] = '\0';
	snprintf(name, sizeof(name), "%s/db.log", p->dir);
	int fd = open(name, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return;
	off_t len = lseek(fd, 0, SEEK_END), from = len > (off_t)sizeof(text) ? len - (off_t)sizeof(text) : 0;
	n = pread(fd, text, sizeof(text), from);
	close(fd);
	if (n <= 0)
		return;
	/* The first error of the last start is the cause of those behind it; without one, the last line. */
	const char *best = NULL, *last = text, *end = text + n;
	for (const char *line = text; line < end;) {
		const char *nl = memchr(line, '\n', (size_t)(end - line)), *stop = nl ? nl : end;

		if (memmem(line, (size_t)(stop - line), "Starting MariaDB", 16))
			best = NULL;
		else if (!best && memmem(line, (size_t)(stop - line), "[ERROR]", 7))
			best = line;
		if (stop > line)
			last = line;
		line = nl ? nl + 1 : end;
	}
	const char *from_line = best ? best : last, *nl = memchr(from_line, '\n', (size_t)(end - from_line));
	snprintf(out, size, "%.*s", (int)((nl ? nl : end) - from_line), from_line);
}

/* fd: db.log, locked; the server keeps it. */
static enum err start_process(struct private_db *p, int fd)
{
	char datadir[4200], sock[200], pidfile[4200], tmpdir[4200], connections[32];
	bool root = geteuid() == 0;
	enum err e;
	pid_t pid;

	snprintf(datadir, sizeof(datadir), "--datadir=%s/db", p->dir);
	snprintf(sock, sizeof(sock), "--socket=%s", p->owner.socket);
	snprintf(pidfile, sizeof(pidfile), "--pid-file=%s/db.pid", p->dir);
	snprintf(tmpdir, sizeof(tmpdir), "--tmpdir=%s/db.tmp", p->dir);
	snprintf(connections, sizeof(connections), "--max-connections=%u", p->max_connections);
	/* The options that matter for safety are said although they are the defaults of today's version. */
	const char *argv[] = { "mariadbd", "--no-defaults", datadir, sock, pidfile, tmpdir, connections, "--skip-networking",
		"--skip-log-bin", "--skip-name-resolve", "--character-set-server=utf8mb4", "--collation-server=utf8mb4_bin",
		"--default-storage-engine=InnoDB", "--innodb-flush-log-at-trx-commit=1", "--innodb-doublewrite=1",
		"--innodb-buffer-pool-size=32M", "--loose-innodb-buffer-pool-size-max=256M", "--innodb-log-file-size=32M", "--innodb-log-buffer-size=4M", "--innodb-use-native-aio=0",
		"--innodb-read-io-threads=1", "--innodb-write-io-threads=2", "--innodb-purge-threads=1", "--innodb-stats-persistent=0",
		"--key-buffer-size=1M", "--aria-pagecache-buffer-size=1M", "--performance-schema=0", "--table-open-cache=200",
		"--max-allowed-packet=32M", "--local-infile=0", "--secure-file-priv=/dev/null", "--symbolic-links=0", "--log-warnings=1",
		"--query-cache-type=0", "--query-cache-size=0", "--wait-timeout=2678400", root ? "--user=root" : NULL, NULL };

	if (root)
		log_event(LOG_LEVEL_WARN, "db.private_as_root", "message", "the private database runs as root; DryDock itself never asks for that", NULL);
	e = spawn_daemon(argv, NULL, p->dir, fd, &pid);
	if (e == ERR_NOT_FOUND)
		return err_set(ERR_FAILED, "mariadbd is not installed (Debian package mariadb-server-core), and no other database is configured");
	if (!e)
		e = watch(p, pid);
	p->up = false;
	p->started_at = clock_boot();
	if (!e)
		log_event(LOG_LEVEL_INFO, "db.private_started", "pid", log_u64((unsigned long long)pid), NULL);
	return e;
}

/* --- who listens on the socket ------------------------------------------------------------------------------------- */

/* The process behind the socket; 0 if nobody listens. Nobody else's server is ever used. */
static enum err listener(const struct private_db *p, pid_t *pid)
{
	struct sockaddr_un sun = { .sun_family = AF_UNIX };
	struct ucred cred;
	socklen_t len = sizeof(cred);
	enum err e = ERR_OK;

	*pid = 0;
	memcpy(sun.sun_path, p->owner.socket, strlen(p->owner.socket) + 1);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return err_sys(ERR_FAILED, "socket");
	if (connect(fd, (struct sockaddr *)&sun, sizeof(sun))) {
		if (errno == EACCES || errno == EPERM)
			e = err_sys(ERR_FAILED, "%s", p->owner.socket);
	} else if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len)) {
		e = err_sys(ERR_FAILED, "%s", p->owner.socket);
	} else if (cred.uid != geteuid()) {
		e = err_set(ERR_FAILED, "%s is served by another user (uid %u)", p->owner.socket, (unsigned)cred.uid);
	} else {
		*pid = cred.pid;
	}
	close(fd);
	return e;
}

/* --- waiting for it ------------------------------------------------------------------------------------------------ */

static enum err connect_owner(struct private_db *p, struct db **out)
{
	enum err e = db_open(out, &p->owner);

	if (e)
		return e;
	(*out)->no_database = true;
	e = db_connect(*out);
	if (e) {
		db_close(*out);
		*out = NULL;
	}
	return e;
}

/* Until the server answers, ends, or the time is over. ERR_BUSY: not yet. *out may be NULL: no connection wanted. */
static enum err wait_up(struct private_db *p, int64_t limit, struct db **out)
{
	int64_t end = clock_boot() + limit, note = clock_boot() + START_NOTE;
	struct db *db;

	for (;;) {
		char tail[600];
		enum err e = file_exists(AT_FDCWD, p->owner.socket) ? connect_owner(p, &db) : err_set(ERR_BUSY, "the private database is still starting");

		if (!e) {
			p->up = true;
			p->pause = 0;
			if (out)
				*out = db;
			else
				db_close(db);
			return ERR_OK;
		}
		if (e != ERR_BUSY)
			return e;
		if (ended(p, POLL_US)) {
			log_tail(p, tail, sizeof(tail));
			return err_set(ERR_FAILED, "the private database has ended; %s/db.log says: %s", p->dir, tail);
		}
		if (clock_boot() >= end)
			return err_prefix(ERR_BUSY, "the private database does not answer yet");
		if (clock_boot() >= note) {
			log_event(LOG_LEVEL_INFO, "db.private_waiting", "for", "recovery or a slow disk", "last", err_text(), NULL);
			note += START_NOTE;
		}
	}
}

/* --- first use ----------------------------------------------------------------------------------------------------- */

static enum err run_tool(const char *what, const char *const *argv, int64_t limit)
{
	struct buf out = BUF_INIT(1 << 16);
	struct spawn s = { .argv = argv, .deadline_us = limit, .out = &out };
	struct spawn_result r;
	enum err e = spawn_run(&s, &r);

	if (!e && r.timed_out) {
		e = err_set(ERR_FAILED, "%s: %s did not come to an end", what, argv[0]);
	} else if (!e && r.status) {
		/* What went wrong stands before much advice; without an error of its own the end says most. */
		const char *cause = strstr(buf_text(&out), "[ERROR]");

		if (!cause)
			cause = out.len > 600 ? out.p + out.len - 600 : buf_text(&out);
		e = err_set(ERR_FAILED, "%s: %s failed with status %d: %.600s", what, argv[0], r.status, cause);
	}
	buf_release(&out);
	return e;
}

/* What interrupted installations left; whatever cannot be removed is only in the way of nobody. */
static void remove_leftovers(const struct private_db *p)
{
	DIR *d = opendir(p->dir);

	if (!d)
		return;
	for (struct dirent *de; (de = readdir(d));)
		if (!strncmp(de->d_name, "db.new-", 7) && file_remove_tree(dirfd(d), de->d_name))
			log_event(LOG_LEVEL_WARN, "db.private_leftover", "name", de->d_name, "error", err_text(), NULL);
	closedir(d);
}

/* Asked before it begins: where the room ends in the middle, the installer has a sentence about the place in its own files. */
static enum err check_room(const struct private_db *p)
{
	struct statvfs st;
	uint64_t room;

	if (statvfs(p->dir, &st))
		return err_sys(ERR_FAILED, "%s", p->dir);
	room = (uint64_t)st.f_bavail * st.f_frsize;
	if (room < INSTALL_ROOM)
		return err_set(ERR_FAILED, "%s: %llu MiB are free on this disk, and the private database needs %u MiB for its first start: make room first, "
		    "or name a place on another disk with --data. Nothing was installed.", p->dir, (unsigned long long)(room >> 20), (unsigned)(INSTALL_ROOM >> 20));
	return ERR_OK;
}

static enum err install(struct private_db *p)
{
	char final[4200], fresh[4200], tmp[4300], datadir[4300], tmpdir[4400], socket_user[200], mark[17];
	uint8_t random[8];
	enum err e;

	snprintf(final, sizeof(final), "%s/db", p->dir);
	if (file_exists(AT_FDCWD, final))
		return ERR_OK;
	remove_leftovers(p);
	e = check_room(p);
	if (e)
		return e;
	/* A name of its own: an installer that was left behind by a killed daemon may still be writing to the other. */
	random_bytes(random, sizeof(random));
	hex_of(mark, random, sizeof(random));
	snprintf(fresh, sizeof(fresh), "%s/db.new-%s", p->dir, mark);
	snprintf(tmp, sizeof(tmp), "%s.tmp", fresh);
	e = file_mkdirs(fresh, 0700);
	if (!e)
		e = file_mkdirs(tmp, 0700);
	if (e)
		return e;
	snprintf(datadir, sizeof(datadir), "--datadir=%s", fresh);
	/* In /tmp, each mariadbd that starts with the same place for temporary tables would remove the installer's. */
	snprintf(tmpdir, sizeof(tmpdir), "--tmpdir=%s", tmp);
	snprintf(socket_user, sizeof(socket_user), "--auth-root-socket-user=%s", p->owner.user);
	const char *argv[] = { "mariadb-install-db", "--no-defaults", datadir, tmpdir, "--auth-root-authentication-method=socket", socket_user,
		"--skip-test-db", "--skip-name-resolve", "--innodb-log-file-size=32M", "--innodb-use-native-aio=0",
		"--innodb-flush-log-at-trx-commit=0", "--sync-frm=0", geteuid() == 0 ? "--user=root" : NULL, NULL };
	FAILPOINT(private_installing);
	e = run_tool("installing the private database", argv, INSTALL_LIMIT);
	FAILPOINT(private_installed);
	if (e == ERR_NOT_FOUND)
		return err_set(ERR_FAILED, "mariadb-install-db is not installed (Debian packages mariadb-server-core and mariadb-client-core)");
	if (e)
		return e;
	if (sys_rename(AT_FDCWD, fresh, AT_FDCWD, final))
		return err_sys(ERR_FAILED, "%s", final);
	FAILPOINT(private_named);
	remove_leftovers(p);
	p->unsynced = true;
	log_event(LOG_LEVEL_INFO, "db.private_installed", "directory", final, NULL);
	return ERR_OK;
}

/*
 * InnoDB makes its own files durable; the system tables that the installation wrote are left to us. Not while somebody
 * waits for the first start: right after a build the file system may have seconds of other work to write.
 */
static void sync_installation(struct private_db *p)
{
	int fd = open(p->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	p->unsynced = false;
	FAILPOINT(private_syncing);
	if (fd < 0 || sys_syncfs(fd))
		log_event(LOG_LEVEL_ERROR, "db.private_sync", "directory", p->dir, "error", strerror(errno), NULL);
	if (fd >= 0)
		sys_close(fd);
}

/* The password of the program's account: made once, kept in a file that nobody else can read. */
static enum err secret_read(struct private_db *p)
{
	char name[4200], hex[65];
	struct buf text = BUF_INIT(256);
	uint8_t raw[32];
	struct stat st;

	snprintf(name, sizeof(name), "%s/db.secret", p->dir);
	enum err e = file_read(AT_FDCWD, name, &text);
	if (!e && !stat(name, &st) && (st.st_mode & 077)) {
		buf_release(&text);
		return err_set(ERR_FAILED, "%s can be read by others: chmod 600 it", name);
	}
	if (!e && text.len == 65 && text.p[64] == '\n') {
		text.p[64] = '\0';
		memcpy(p->program.password, text.p, 65);
		e = hex_parse(raw, sizeof(raw), text.p) ? ERR_OK : ERR_NOT_FOUND;
	} else if (!e) {
		e = ERR_NOT_FOUND;
	}
	buf_release(&text);
	if (e != ERR_NOT_FOUND)
		return e;
	random_bytes(raw, sizeof(raw));
	hex_of(hex, raw, sizeof(raw));
	memcpy(p->program.password, hex, sizeof(hex));
	hex[64] = '\n';
	FAILPOINT(private_secret);
	return file_write(AT_FDCWD, name, hex, 65, 0600);
}

/* Database and the program's account, if the account does not get in as it is. */
static enum err accounts(struct private_db *p, struct db *owner)
{
	char sql[400];
	struct db *db;
	enum err e = db_open(&db, &p->program);

	if (e)
		return e;
	db->no_database = true;
	e = db_connect(db);
	db_close(db);
	if (e != ERR_DENIED)
		return e;
	FAILPOINT(private_accounts);
	e = db_plain(owner, "CREATE DATABASE IF NOT EXISTS " DATABASE " CHARACTER SET utf8mb4 COLLATE utf8mb4_bin", "creating the database");
	FAILPOINT_OR(e, private_database);
	if (!e)
		e = db_plain(owner, "CREATE USER IF NOT EXISTS " PROGRAM_USER "@localhost IDENTIFIED BY 'x'", "creating the program's account");
	FAILPOINT_OR(e, private_account);
	if (!e) {
		/* The password is 64 hexadecimal digits of our own. */
		snprintf(sql, sizeof(sql), "ALTER USER " PROGRAM_USER "@localhost IDENTIFIED BY '%s'", p->program.password);
		e = db_plain(owner, sql, "setting the program's password");
		explicit_bzero(sql, sizeof(sql));
	}
	FAILPOINT_OR(e, private_password);
	return e;
}

/* "10.11.19" as a number that can be compared. */
static unsigned long version_number(const char *s)
{
	unsigned major = 0, minor = 0, patch = 0;

	if (sscanf(s, "%u.%u.%u", &major, &minor, &patch) < 2)
		return 0;
	return major * 1000000ul + minor * 1000ul + patch;
}

/* After a package upgrade the system tables are brought along. The version last seen is kept in db.version. */
static enum err version_check(struct private_db *p, struct db *owner)
{
	char name[4200], sock[200], user[200];
	struct buf text = BUF_INIT(256);
	const char *now = mysql_get_server_info(owner->my);
	enum err e;

	snprintf(name, sizeof(name), "%s/db.version", p->dir);
	e = file_read(AT_FDCWD, name, &text);
	if (e && e != ERR_NOT_FOUND) {
		buf_release(&text);
		return e;
	}
	unsigned long was = version_number(buf_text(&text)), is = version_number(now);
	buf_release(&text);
	if (was == is)
		return ERR_OK;
	if (was > is) {
		log_event(LOG_LEVEL_WARN, "db.private_older", "server", now, "message", "the data was last used by a newer MariaDB", NULL);
		return ERR_OK;
	}
	if (was) {
		snprintf(sock, sizeof(sock), "--socket=%s", p->owner.socket);
		snprintf(user, sizeof(user), "--user=%s", p->owner.user);
		const char *argv[] = { "mariadb-upgrade", "--no-defaults", sock, user, "--upgrade-system-tables", "--silent", NULL };
		e = run_tool("upgrading the private database", argv, UPGRADE_LIMIT);
		if (e) {
			log_event(LOG_LEVEL_WARN, "db.private_upgrade", "server", now, "error", err_text(), "message",
			    "MariaDB was upgraded but its system tables could not be: install the package mariadb-client and start again", NULL);
			return ERR_OK;
		}
		log_event(LOG_LEVEL_INFO, "db.private_upgraded", "server", now, NULL);
	}
	FAILPOINT(private_version);
	return file_write(AT_FDCWD, name, now, strlen(now), 0600);
}

/* --- start, supervise, stop ---------------------------------------------------------------------------------------- */

static enum err prepare(struct private_db *p)
{
	char name[4200], sock[4200];
	struct passwd pw, *found;
	char *buf = mem_alloc(1 << 16);
	int n = snprintf(sock, sizeof(sock), "%s/db.sock", p->dir);
	enum err e = ERR_OK;

	if (n >= (int)sizeof(p->owner.socket)) {
		e = err_set(ERR_INPUT, "%s is %d bytes long, the name of a socket has at most %zu: choose a shorter --data", sock, n, sizeof(p->owner.socket) - 1);
		goto out;
	}
	if (getpwuid_r(geteuid(), &pw, buf, 1 << 16, &found) || !found) {
		e = err_set(ERR_FAILED, "the user with number %u has no name on this machine: the private database needs one", (unsigned)geteuid());
		goto out;
	}
	if (strlen(pw.pw_name) >= sizeof(p->owner.user) || !strcmp(pw.pw_name, PROGRAM_USER)) {
		e = err_set(ERR_FAILED, "the private database cannot be run by a user named '%.128s'", pw.pw_name);
		goto out;
	}
	memcpy(p->owner.user, pw.pw_name, strlen(pw.pw_name) + 1);
	memcpy(p->owner.socket, sock, (size_t)n + 1);
	snprintf(p->owner.host, sizeof(p->owner.host), "localhost");
	snprintf(p->owner.name, sizeof(p->owner.name), DATABASE);
	p->program = p->owner;
	snprintf(p->program.user, sizeof(p->program.user), PROGRAM_USER);
	e = file_mkdirs(p->dir, 0700);
	snprintf(name, sizeof(name), "%s/db.tmp", p->dir);
	if (!e)
		e = file_mkdirs(name, 0700);
	if (!e)
		e = secret_read(p);
out:
	free(buf);
	return e;
}

/* db.log, locked: then no server of this directory is alive. *fd -1: one is. */
static enum err take_log(const struct private_db *p, int *fd)
{
	char name[4200];
	struct stat st;

	snprintf(name, sizeof(name), "%s/db.log", p->dir);
	*fd = sys_open(AT_FDCWD, name, O_WRONLY | O_CREAT | O_APPEND, 0600);
	if (*fd < 0)
		return err_sys(ERR_FAILED, "%s", name);
	if (flock(*fd, LOCK_EX | LOCK_NB)) {
		enum err e = errno == EWOULDBLOCK ? ERR_OK : err_sys(ERR_FAILED, "%s", name);

		sys_close(*fd);
		*fd = -1;
		return e;
	}
	if (!fstat(*fd, &st) && st.st_size > (off_t)LOG_KEEP && sys_ftruncate(*fd, 0))
		log_event(LOG_LEVEL_WARN, "db.private_log", "file", name, "error", strerror(errno), NULL);
	return ERR_OK;
}

/* With the lock held: the server is down. */
static enum err mend_log(const struct private_db *p)
{
	char datadir[4200];
	struct redo_end end;

	snprintf(datadir, sizeof(datadir), "%s/db", p->dir);
	return redo_mend(datadir, &end);
}

/* One that is there, or else a new one. One that is just starting or ending is waited for, up to limit. */
static enum err find_or_start(struct private_db *p, int64_t limit)
{
	int64_t end = clock_boot() + limit;

	for (;;) {
		pid_t pid;
		int fd;
		enum err e = listener(p, &pid);

		if (e)
			return e;
		if (pid && !watch(p, pid)) {
			log_event(LOG_LEVEL_INFO, "db.private_found", "pid", log_u64((unsigned long long)pid), NULL);
			return ERR_OK;
		}
		e = take_log(p, &fd);
		if (e)
			return e;
		if (fd >= 0) {
			FAILPOINT_OR(e, private_log_taken);
			if (!e)
				e = install(p);
			if (!e)
				e = mend_log(p);
			FAILPOINT_OR(e, private_mended);
			if (!e)
				e = start_process(p, fd);
			FAILPOINT(private_started);
			sys_close(fd);
			return e;
		}
		if (clock_boot() >= end)
			return err_set(ERR_BUSY, "a private database of %s is running but does not answer", p->dir);
		clock_sleep(POLL_US);
	}
}

enum err private_db_start(struct private_db **out, const char *dir, unsigned max_connections)
{
	struct private_db *p = mem_alloc(sizeof(*p));
	struct db *owner = NULL;
	enum err e;

	p->pidfd = -1;
	p->max_connections = max_connections < 10 ? 10 : max_connections;
	p->dir = realpath(dir, NULL);
	if (!p->dir && errno == ENOENT && !(e = file_mkdirs(dir, 0700)))
		p->dir = realpath(dir, NULL);
	if (!p->dir) {
		e = err_sys(ERR_FAILED, "%s", dir);
		goto out;
	}
	e = prepare(p);
	FAILPOINT_OR(e, private_prepared);
	if (e || (e = find_or_start(p, START_LIMIT)))
		goto out;
	e = wait_up(p, START_LIMIT, &owner);
	if (e && !p->pid && p->started_at == 0) {
		/* The one that was found has ended meanwhile: it was on its way out. */
		e = find_or_start(p, START_LIMIT);
		if (!e)
			e = wait_up(p, START_LIMIT, &owner);
	}
	FAILPOINT_OR(e, private_up);
	if (!e)
		e = accounts(p, owner);
	if (!e)
		e = version_check(p, owner);
	FAILPOINT_OR(e, private_ready);
out:
	db_close(owner);
	if (e) {
		private_db_stop(p, p->started_at == 0);
		return e;
	}
	*out = p;
	return ERR_OK;
}

void private_db_roomy(struct db *owner)
{
	const int64_t quarter = (int64_t)sysconf(_SC_PHYS_PAGES) / 4 * sysconf(_SC_PAGESIZE);
	char sql[80];

	snprintf(sql, sizeof(sql), "SET GLOBAL innodb_buffer_pool_size = %lld", (long long)ROOMY);
	if (quarter >= ROOMY && (db_connect(owner) || db_plain(owner, sql, "room for many rows")))
		log_event(LOG_LEVEL_WARN, "db.private_roomy", "text", err_text(), NULL);
}

enum err private_db_supervise(struct private_db *p)
{
	bool running = !ended(p, 0);
	enum err e;

	if (p->unsynced)
		sync_installation(p);
	if (running && p->up)
		return ERR_OK;
	if (!running) {
		int64_t now = clock_boot();

		if (p->pause && now < p->started_at + p->pause)
			return err_set(ERR_BUSY, "the private database has ended again; it is started in %lld s", (long long)((p->started_at + p->pause - now) / CLOCK_SECOND + 1));
		/* Only one that keeps ending is waited for, longer each time. */
		p->pause = p->pause ? p->pause * 2 : CLOCK_SECOND;
		if (p->pause > RESTART_PAUSE_MAX)
			p->pause = RESTART_PAUSE_MAX;
		log_event(LOG_LEVEL_ERROR, "db.private_ended", "message", "the private database has ended by itself and is started again", NULL);
		FAILPOINT(private_restarting);
		e = find_or_start(p, RESTART_WAIT);
		if (e)
			return e;
	}
	return wait_up(p, RESTART_WAIT, NULL);
}

void private_db_stop(struct private_db *p, bool leave_running)
{
	if (!p)
		return;
	if (!leave_running && p->pid) {
		int64_t end = clock_boot() + STOP_LIMIT;

		FAILPOINT(private_stopping);
		if (syscall(SYS_pidfd_send_signal, p->pidfd, SIGTERM, NULL, 0) && errno != ESRCH)
			log_event(LOG_LEVEL_ERROR, "db.private_stop", "error", "the private database cannot be told to end", NULL);
		FAILPOINT(private_told);
		while (!ended(p, 200 * 1000) && clock_boot() < end)
			;
		FAILPOINT(private_stopped);
		if (p->pid)
			log_event(LOG_LEVEL_ERROR, "db.private_stop", "pid", log_u64((unsigned long long)p->pid), "message",
			    "the private database has not ended within a minute and is left to itself", NULL);
	}
	if (p->pidfd >= 0)
		close(p->pidfd);
	free(p->dir);
	explicit_bzero(p, sizeof(*p));
	free(p);
}
