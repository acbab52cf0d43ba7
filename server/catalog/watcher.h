/*
 * watcher: keeps the staged side current: a thread that waits for events of stage/watch.h and scans where they were.
 * Inside the room; c->watcher is NULL where none was asked for, and then nothing here needs to be called.
 */
#ifndef DRYDOCK_CATALOG_WATCHER_H
#define DRYDOCK_CATALOG_WATCHER_H

#include "catalog/catalog.h"

/* Begins with a scan of everything. Without inotify, or with too few watches, it scans every few seconds instead. */
void watcher_start(struct catalog *c);
void watcher_stop(struct catalog *c);
/* Everything that happened in staging until now is in the tree. False without a watcher, or with a partial one. */
bool watcher_quiet(struct catalog *c);
/* Every directory is watched. */
bool watcher_complete(struct catalog *c);
/* Scan where there were events; scan is held. */
enum err watcher_catch_up(struct catalog *c) MUST_CHECK;

#endif
