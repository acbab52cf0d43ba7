/* The transaction runner. */
#include "db/internal.h"

#include <mysqld_error.h>

#include "base/clock.h"
#include "base/failpoint.h"
#include "base/log.h"

#define TRIES 8
#define PAUSE_US 4000 /* before the second try, at the most; doubles */
#define LONGEST (8 * CLOCK_SECOND) /* no new try after that: waits for a lock may have been long ones */

bool tx_open(const struct db *db)
{
	return db->in_tx;
}

static enum err begin(struct db *db)
{
	enum err e = db_connect(db);

	if (e)
		return e;
	e = db_plain(db, "START TRANSACTION", "begin");
	if (e && db->lost) {
		/* The server went away in this instant. Nothing is begun, so one more connection is worth a try. */
		e = db_connect(db);
		if (!e)
			e = db_plain(db, "START TRANSACTION", "begin");
	}
	return e;
}

/* A failed ROLLBACK is one too, once the connection is closed. */
static void roll_back(struct db *db)
{
	if (db->lost || mysql_real_query(db->my, "ROLLBACK", 8))
		db_disconnect(db);
}

/*
 * An error at COMMIT. If the server itself says why (a deadlock in Galera's certification, a full disk), it has rolled
 * back. If the answer did not come, nobody knows.
 */
static enum err commit_failed(struct db *db, bool *unknown)
{
	enum err e = db_error(db, mysql_errno(db->my), mysql_error(db->my), "commit");

	if (!db->lost)
		return e;
	if (unknown)
		*unknown = true;
	log_event(LOG_LEVEL_WARN, "db.commit_unknown", "error", mysql_error(db->my), NULL);
	return err_prefix(ERR_FAILED, "whether the change was decided is not known yet");
}

static enum err attempt(struct db *db, enum err (*fn)(struct db *db, void *arg), void *arg, bool *unknown, bool *lost)
{
	enum err e = begin(db);

	*lost = false;
	if (e)
		return e;
	db->in_tx = true;
	db->tx_error = ERR_OK;
	FAILPOINT(tx_begun);
	e = fn(db, arg);
	/* An error that fn did not hand on is one all the same: the server may have undone everything already. */
	if (!e && db->tx_error)
		e = err_prefix(db->tx_error, "a statement of the transaction failed before");
	FAILPOINT_OR(e, tx_done);
	if (e) {
		*lost = db->lost;
		roll_back(db);
	} else if (mysql_real_query(db->my, "COMMIT", 6)) {
		db->in_tx = false;
		e = commit_failed(db, unknown);
		if (db->lost)
			db_disconnect(db);
		else
			roll_back(db);
	} else {
		FAILPOINT(tx_committed);
	}
	db->in_tx = false;
	db->tx_error = ERR_OK;
	return e;
}

enum err tx_run(struct db *db, enum err (*fn)(struct db *db, void *arg), void *arg, bool *unknown)
{
	int64_t pause = PAUSE_US, from = clock_boot();
	bool lost, again = true; /* once after a lost connection: a server that was restarted is there again */

	if (unknown)
		*unknown = false;
	if (db->in_tx)
		return err_set(ERR_FAILED, "a transaction within a transaction");
	for (int i = 1;; i++) {
		enum err e = attempt(db, fn, arg, unknown, &lost);

		if (lost && again && e == ERR_BUSY)
			again = false;
		else if (e != ERR_RETRY)
			return e;
		else if (i >= TRIES || clock_boot() - from > LONGEST)
			return err_prefix(ERR_BUSY, "given up after %d tries", i);
		uint32_t r;
		random_bytes(&r, sizeof(r));
		clock_sleep(1 + (int64_t)(r % (uint64_t)pause));
		pause *= 2;
	}
}

enum err db_within(struct db *db, enum err (*fn)(struct db *db, void *arg), void *arg)
{
	return db->in_tx ? fn(db, arg) : tx_run(db, fn, arg, NULL);
}
