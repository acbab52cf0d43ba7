/* Addresses, connecting, and what an error of the server means. */
#include "db/internal.h"

#include <errmsg.h>
#include <errno.h>
#include <limits.h>
#include <mysqld_error.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/digest.h"
#include "base/log.h"

#define CONNECT_TIMEOUT 5 /* seconds */
#define READ_TIMEOUT 30
#define WRITE_TIMEOUT 30

/* --- addresses ----------------------------------------------------------------------------------------------------- */

/* A part of the URL with its percent escapes resolved. */
static enum err url_part(char *out, size_t size, const char *from, const char *end, const char *what)
{
	size_t n = 0;

	while (from < end) {
		char c = *from++;

		if (c == '%') {
			int hi = end - from >= 2 ? hex_digit(from[0]) : -1, lo = hi >= 0 ? hex_digit(from[1]) : -1;

			if (lo < 0)
				return err_set(ERR_INPUT, "database address: a '%%' in the %s must be followed by two hexadecimal digits", what);
			c = (char)(hi * 16 + lo);
			from += 2;
		}
		if (!c)
			return err_set(ERR_INPUT, "database address: a NUL in the %s", what);
		if (n + 1 >= size)
			return err_set(ERR_INPUT, "database address: the %s is longer than %zu bytes", what, size - 1);
		out[n++] = c;
	}
	out[n] = '\0';
	return ERR_OK;
}

static enum err url_option(struct db_address *out, const char *from, const char *end)
{
	const char *eq = memchr(from, '=', (size_t)(end - from));
	size_t n = eq ? (size_t)(eq - from) : (size_t)(end - from);
	char value[8];

	if (eq && n == 6 && !memcmp(from, "socket", n))
		return url_part(out->socket, sizeof(out->socket), eq + 1, end, "socket");
	if (eq && n == 10 && !memcmp(from, "tls_verify", n)) {
		enum err e = url_part(value, sizeof(value), eq + 1, end, "option tls_verify");

		if (e)
			return e;
		if (strcmp(value, "0") && strcmp(value, "1"))
			return err_set(ERR_INPUT, "database address: tls_verify is 0 or 1");
		out->tls_verify = value[0] == '1';
		return ERR_OK;
	}
	return err_set(ERR_INPUT, "database address: unknown option '%.*s' (there are socket and tls_verify)", (int)(n < 64 ? n : 64), from);
}

/* "[::1]:3306", "db.example.org" */
static enum err url_host(struct db_address *out, const char *from, const char *end)
{
	const char *colon = NULL;

	if (from < end && *from == '[') {
		const char *close = memchr(from, ']', (size_t)(end - from));

		if (!close || (close + 1 < end && close[1] != ':'))
			return err_set(ERR_INPUT, "database address: '[' without ']' around the host");
		colon = close + 1 < end ? close + 1 : NULL;
		enum err e = url_part(out->host, sizeof(out->host), from + 1, close, "host");
		if (e)
			return e;
	} else {
		colon = memchr(from, ':', (size_t)(end - from));
		enum err e = url_part(out->host, sizeof(out->host), from, colon ? colon : end, "host");
		if (e)
			return e;
	}
	if (colon) {
		char text[8], *rest;
		enum err e = url_part(text, sizeof(text), colon + 1, end, "port");

		if (e)
			return e;
		unsigned long port = strtoul(text, &rest, 10);
		if (!*text || *rest || text[0] < '0' || text[0] > '9' || port < 1 || port > 65535)
			return err_set(ERR_INPUT, "database address: the port is a number from 1 to 65535");
		out->port = (unsigned)port;
	}
	return *out->host ? ERR_OK : err_set(ERR_INPUT, "database address: the host is missing");
}

enum err db_address_parse(struct db_address *out, const char *url)
{
	static const char scheme[] = "mysql://", other[] = "mariadb://";
	enum err e;

	memset(out, 0, sizeof(*out));
	if (!strncmp(url, scheme, sizeof(scheme) - 1))
		url += sizeof(scheme) - 1;
	else if (!strncmp(url, other, sizeof(other) - 1))
		url += sizeof(other) - 1;
	else
		return err_set(ERR_INPUT, "database address: it starts with mysql://");
	const char *slash = strchr(url, '/');
	if (!slash)
		return err_set(ERR_INPUT, "database address: the name of the database is missing (mysql://user@host/name)");
	const char *at = NULL;
	for (const char *p = url; p < slash; p++)
		if (*p == '@')
			at = p;
	if (!at)
		return err_set(ERR_INPUT, "database address: the user is missing (mysql://user@host/name)");
	const char *colon = memchr(url, ':', (size_t)(at - url));
	if ((e = url_part(out->user, sizeof(out->user), url, colon ? colon : at, "user")))
		return e;
	if (colon && (e = url_part(out->password, sizeof(out->password), colon + 1, at, "password")))
		return e;
	if (!*out->user)
		return err_set(ERR_INPUT, "database address: the user is missing (mysql://user@host/name)");
	if ((e = url_host(out, at + 1, slash)))
		return e;
	const char *query = strchr(slash, '?'), *end = query ? query : slash + strlen(slash);
	if ((e = url_part(out->name, sizeof(out->name), slash + 1, end, "name of the database")))
		return e;
	if (!*out->name)
		return err_set(ERR_INPUT, "database address: the name of the database is missing (mysql://user@host/name)");
	for (const char *p = query; p && *p;) {
		const char *from = p + 1, *stop = from + strcspn(from, "&");

		if ((e = url_option(out, from, stop)))
			return e;
		p = *stop ? stop : NULL;
	}
	if (!*out->socket && !out->port)
		out->port = 3306;
	return ERR_OK;
}

/* --- errors -------------------------------------------------------------------------------------------------------- */

enum meaning { OTHER, AGAIN, LOST, NO_ANSWER, FULL, DUPLICATE, BAD_VALUE };

static enum meaning meaning_of(unsigned number, const char *text)
{
	switch (number) {
	case ER_LOCK_DEADLOCK:
	case ER_LOCK_WAIT_TIMEOUT:
	case ER_CHECKREAD:
		return AGAIN;
	case CR_SERVER_GONE_ERROR:
	case CR_SERVER_LOST:
	case ER_CONNECTION_KILLED:
	case ER_SERVER_SHUTDOWN:
	case ER_NET_READ_ERROR:
	case ER_NET_READ_INTERRUPTED:
	case ER_NET_ERROR_ON_WRITE:
	case ER_NET_WRITE_INTERRUPTED:
		return LOST;
	case CR_CONNECTION_ERROR:
	case CR_CONN_HOST_ERROR:
	case CR_UNKNOWN_HOST:
	case ER_CON_COUNT_ERROR:
	case ER_UNKNOWN_COM_ERROR: /* a Galera node that has lost its cluster */
	case ER_OPTION_PREVENTS_STATEMENT: /* read-only */
	case ER_TOO_MANY_USER_CONNECTIONS:
		return NO_ANSWER;
	case ER_DISK_FULL:
	case ER_RECORD_FILE_FULL:
		return FULL;
	case ER_GET_ERRNO:
	case ER_ERROR_ON_WRITE:
		return strstr(text, "No space left") || strstr(text, "error 28") || strstr(text, "Errcode: 28") ? FULL : OTHER;
	case ER_DUP_ENTRY:
		return DUPLICATE;
	case ER_DATA_TOO_LONG:
	case ER_TRUNCATED_WRONG_VALUE_FOR_FIELD:
	case ER_WARN_DATA_OUT_OF_RANGE:
	case ER_NET_PACKET_TOO_LARGE:
		return BAD_VALUE;
	default:
		return OTHER;
	}
}

enum err db_error(struct db *db, unsigned number, const char *text, const char *what)
{
	enum meaning m = meaning_of(number, text);
	enum err e;

	/* 2000 to 2999 are the client library's own: its state and the server's may differ from here on. */
	if (m == LOST || (number >= CR_MIN_ERROR && number <= CR_MAX_ERROR))
		db->lost = true;
	/* What the server says may name its files, and values: it is for the log, the sentence is for whoever asked. */
	if (m != OTHER)
		log_event(m == AGAIN || m == DUPLICATE ? LOG_LEVEL_DEBUG : LOG_LEVEL_WARN, "db.error", "statement", what, "number", log_u64(number), "text",
		    text, NULL);
	switch (m) {
	case AGAIN:
		e = err_set(ERR_RETRY, "The database was busy with another change: try again.");
		break;
	case LOST:
		e = err_set(ERR_BUSY, "The connection to the database was lost: nothing was recorded. Try again in a moment.");
		break;
	case NO_ANSWER:
		e = err_set(ERR_BUSY, "The database does not answer. Try again in a moment.");
		break;
	case FULL:
		e = err_set(ERR_BUSY, "The disk of the database is full: nothing was recorded. Make room there.");
		break;
	case DUPLICATE:
		/* The statement alone was undone; the transaction may go on. */
		return err_set(ERR_STALE, "It exists already (%s).", what);
	case BAD_VALUE:
		e = err_set(ERR_INPUT, "The database refuses a value (%s).", what);
		break;
	default:
		e = err_set(ERR_FAILED, "database error %u (%s: %s)", number, what, text);
	}
	if (db->in_tx)
		db->tx_error = e;
	return e;
}

/* --- connecting ---------------------------------------------------------------------------------------------------- */

static atomic_uint expected_schema;

static pthread_mutex_t library_lock = PTHREAD_MUTEX_INITIALIZER;
static unsigned library_users;

enum err db_library_start(void)
{
	int failed = 0;

	(void)pthread_mutex_lock(&library_lock);
	if (!library_users)
		failed = mysql_server_init(0, NULL, NULL);
	library_users += !failed;
	(void)pthread_mutex_unlock(&library_lock);
	return failed ? err_set(ERR_FAILED, "the database client library cannot be started") : ERR_OK;
}

void db_library_stop(void)
{
	(void)pthread_mutex_lock(&library_lock);
	if (library_users && !--library_users)
		mysql_server_end();
	(void)pthread_mutex_unlock(&library_lock);
}

void db_schema_expect(unsigned version)
{
	atomic_store(&expected_schema, version);
}

enum err db_open(struct db **out, const struct db_address *address)
{
	struct db *db = mem_alloc(sizeof(*db));
	size_t n;

	(void)db_stmts(&n);
	db->address = *address;
	db->read_timeout = READ_TIMEOUT;
	db->cache = mem_array(n, sizeof(*db->cache));
	*out = db;
	return ERR_OK;
}

void db_disconnect(struct db *db)
{
	db_cache_free(db);
	if (db->my)
		mysql_close(db->my);
	db->my = NULL;
	db->generation++;
	db->lost = db->streaming = false;
}

void db_close(struct db *db)
{
	if (!db)
		return;
	db_disconnect(db);
	free(db->cache);
	explicit_bzero(db, sizeof(*db));
	free(db);
}

enum err db_plain(struct db *db, const char *sql, const char *what)
{
	bulk_settle(db);
	if (mysql_real_query(db->my, sql, strlen(sql)))
		return db_error(db, mysql_errno(db->my), mysql_error(db->my), what);
	/* A migration may hold a statement with rows; nobody wants them. */
	MYSQL_RES *res = mysql_store_result(db->my);
	if (res)
		mysql_free_result(res);
	else if (mysql_errno(db->my))
		return db_error(db, mysql_errno(db->my), mysql_error(db->my), what);
	return ERR_OK;
}

/* Settings that DryDock cannot do without; each connection looks for itself, since a server may be reconfigured. */
static enum err check_server(struct db *db)
{
	static const char what[] = "checking the server";
	static const char sql[] = "SELECT @@GLOBAL.innodb_flush_log_at_trx_commit, @@SESSION.sql_mode, "
				  "@@SESSION.character_set_client, @@SESSION.autocommit, @@SESSION.default_storage_engine";
	enum err e = ERR_OK;
	MYSQL_RES *res;
	MYSQL_ROW row;

	if (mysql_real_query(db->my, sql, sizeof(sql) - 1) || !(res = mysql_store_result(db->my)))
		return db_error(db, mysql_errno(db->my), mysql_error(db->my), what);
	row = mysql_fetch_row(res);
	if (!row || !row[0] || !row[1] || !row[2] || !row[3] || !row[4])
		e = err_set(ERR_FAILED, "the database server does not tell its settings");
	else if (strcmp(row[0], "1"))
		e = err_set(ERR_FAILED, "the database server runs with innodb_flush_log_at_trx_commit = %s: a decision would not survive a power failure; set it to 1", row[0]);
	else if (!strstr(row[1], "STRICT_ALL_TABLES"))
		e = err_set(ERR_FAILED, "the database server does not keep the strict sql_mode (it has '%s')", row[1]);
	else if (strcmp(row[2], "utf8mb4"))
		e = err_set(ERR_FAILED, "the database server does not keep the character set utf8mb4 (it has %s)", row[2]);
	else if (strcmp(row[3], "1") || strcasecmp(row[4], "InnoDB"))
		e = err_set(ERR_FAILED, "the database server must have autocommit on and InnoDB as its storage engine");
	mysql_free_result(res);
	return e;
}

static enum err check_schema(struct db *db)
{
	unsigned want = atomic_load(&expected_schema), have;

	if (!want || db->no_database)
		return ERR_OK;
	enum err e = db_schema_version(db, &have);
	if (!e && have != want)
		e = err_set(ERR_STALE, "the database's schema is now number %u, this program works with number %u: restart DryDock", have, want);
	return e;
}

static enum err prepare_session(struct db *db)
{
	static const char *const setup[] = {
		"SET SESSION sql_mode = 'STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION,ERROR_FOR_DIVISION_BY_ZERO,ONLY_FULL_GROUP_BY,"
		"NO_BACKSLASH_ESCAPES', time_zone = '+00:00', innodb_lock_wait_timeout = 5, lock_wait_timeout = 30, autocommit = 1",
		"SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED",
	};

	for (size_t i = 0; i < sizeof(setup) / sizeof(*setup); i++) {
		enum err e = db_plain(db, setup[i], "setting up the connection");
		if (e)
			return e;
	}
	enum err e = check_server(db);
	return e ? e : check_schema(db);
}

static void set_option(struct db *db, enum mysql_option option, const void *value)
{
	/* Only an option that the library does not know can fail; those used here all exist. */
	if (mysql_optionsv(db->my, option, value))
		log_event(LOG_LEVEL_WARN, "db.option", "option", log_u64(option), NULL);
}

/* An idle connection has nothing to read: if there is something, the server has said good-bye. */
static bool hung_up(struct db *db)
{
	struct pollfd p = { .fd = (int)mysql_get_socket(db->my), .events = POLLIN | POLLRDHUP };

	return p.fd < 0 || poll(&p, 1, 0) != 0;
}

/* What somebody has to put right, or what may pass by itself. */
static enum err connect_error(struct db *db)
{
	const struct db_address *a = &db->address;
	const char *text = mysql_error(db->my);

	/* Of an account that does not exist the server asks by a plugin picked at random: then it has other words. */
	switch (mysql_errno(db->my)) {
	case ER_ACCESS_DENIED_ERROR:
	case ER_ACCESS_DENIED_NO_PASSWORD_ERROR:
	case ER_DBACCESS_DENIED_ERROR:
		return err_set(ERR_DENIED, "the database refuses the account '%s': %s", a->user, text);
	case ER_BAD_DB_ERROR:
		return err_set(ERR_NOT_FOUND, "the database server has no database '%s'", a->name);
	case CR_SSL_CONNECTION_ERROR:
		return err_set(ERR_FAILED, "the database server cannot be trusted: %s", text);
	default:
		return err_set(ERR_BUSY, "the database does not answer: %s", text);
	}
}

enum err db_connect(struct db *db)
{
	const struct db_address *a = &db->address;
	unsigned connect_timeout = CONNECT_TIMEOUT, write_timeout = WRITE_TIMEOUT, none = 0;
	bool local = *a->socket;
	unsigned protocol = local ? MYSQL_PROTOCOL_SOCKET : MYSQL_PROTOCOL_TCP;
	my_bool yes = 1, no = 0;

	if (db->streaming)
		return err_set(ERR_FAILED, "the connection is still reading another answer");
	if (db->my && !db->lost && !hung_up(db))
		return ERR_OK;
	db_disconnect(db);
	db->my = mysql_init(NULL);
	if (!db->my)
		return err_set(ERR_FAILED, "no memory for a database connection");
	set_option(db, MYSQL_OPT_CONNECT_TIMEOUT, &connect_timeout);
	set_option(db, MYSQL_OPT_READ_TIMEOUT, &db->read_timeout);
	set_option(db, MYSQL_OPT_WRITE_TIMEOUT, &write_timeout);
	set_option(db, MYSQL_OPT_RECONNECT, &no);
	set_option(db, MYSQL_OPT_LOCAL_INFILE, &none);
	set_option(db, MYSQL_OPT_PROTOCOL, &protocol);
	set_option(db, MYSQL_SET_CHARSET_NAME, "utf8mb4");
	set_option(db, MYSQL_REPORT_DATA_TRUNCATION, &yes);
	if (a->tls_verify) {
		set_option(db, MYSQL_OPT_SSL_ENFORCE, &yes);
		set_option(db, MYSQL_OPT_SSL_VERIFY_SERVER_CERT, &yes);
	}
	/* A row that is found counts as touched, even if the new values are the old ones. */
	if (!mysql_real_connect(db->my, local ? "localhost" : a->host, a->user, a->password, db->no_database ? NULL : a->name, a->port,
		local ? a->socket : NULL, CLIENT_FOUND_ROWS)) {
		enum err e = connect_error(db);

		db_disconnect(db);
		return e;
	}
	db->lost = false;
	db->is_mariadb = strstr(mysql_get_server_info(db->my), "MariaDB") != NULL;
	enum err e = prepare_session(db);
	if (e)
		db_disconnect(db);
	return e;
}

enum err db_ping(struct db *db)
{
	if (db->in_tx)
		return db->tx_error;
	enum err e = db_connect(db);
	if (!e && mysql_ping(db->my)) {
		e = db_error(db, mysql_errno(db->my), mysql_error(db->my), "ping");
		db_disconnect(db);
		e = db_connect(db);
	}
	return e;
}
