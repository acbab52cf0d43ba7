/*
 * redo: the end of the private MariaDB's log, looked at before a server that was killed starts again.
 *
 * InnoDB (since 10.8, up to 10.11.19 at least) writes the last block of ib_logfile0 out of a buffer to which other threads
 * go on appending. A byte 0 behind the last record says "the end"; a record that is appended in this instant takes its
 * place, and what follows in the block is what the buffer held before: an older piece of the same log. Its records carry
 * no position and their checksums are right. If one happens to begin where the newest ends, the next start takes them for
 * new ones: rows go back to what they were, committed changes disappear, the undo log is damaged so that the server does
 * not start any more. See doc/DECISIONS, "Killed again and again".
 *
 * So the end mark is put back, with the server down. Nothing is lost by that: a change is acknowledged after the write
 * that holds it, and stale bytes can only stand behind the last such write.
 */
#ifndef DRYDOCK_DB_REDO_H
#define DRYDOCK_DB_REDO_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

struct redo_end {
	bool known; /* a log of the format that is understood; otherwise all else is 0 */
	bool mended;
	uint64_t lsn; /* where the log ends */
	uint64_t stale; /* bytes of old records behind it that would have been taken for new ones */
};

/*
 * dir: the server's data directory; no server may be running on it. A log of another format (older, newer, encrypted), or
 * none, is left alone. Reads from the last checkpoint to the end, writes one byte or none. ERR_FAILED: the disk.
 */
enum err redo_mend(const char *dir, struct redo_end *out) MUST_CHECK;

#endif
