/*
 * acts_world: a site with a staging tree, an installation, people and a private MariaDB, for the tests of acts/.
 */
#ifndef DRYDOCK_TESTS_DB_ACTS_WORLD_H
#define DRYDOCK_TESTS_DB_ACTS_WORLD_H

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "test.h"
#include "acts/internal.h"
#include "auth/internal.h"
#include "base/clock.h"
#include "base/failpoint.h"
#include "base/file.h"
#include "base/spawn.h"
#include "base/sys.h"
#include "testdb.h"

struct world {
	char dir[96]; /* of this test */
	struct conf conf;
	struct conf_site site_conf;
	char *staging, *data, *signers;
	struct testdb *db;
	struct db_address address;
	struct node_key *key;
	struct auth *auth;
	struct actor_tools *t;
	struct site *s, *installation;
	struct person *admin, *editor, *reviewer, *viewer, *stranger;
};

/* Each test has a site and staging of its own; the database, the installation and the node's key are those of all. */
void world_new(struct world *w);
void world_free(struct world *w);
void world_end(void); /* after the last test */
/* Let go of sites and tools, and open them again: what a restart of the daemon does. */
void world_close(struct world *w);
void world_open(struct world *w);
/*
 * For another program, which threads of ours and their locks do not follow: world_tell() leaves in w->dir what it has to know, and
 * world_join() makes of it a world with sites, tools and the editor. It ends with its process.
 */
void world_tell(const struct world *w);
void world_join(struct world *w, const char *dir);

/* --- staging ------------------------------------------------------------------------------------------------------- */

void put(struct world *w, const char *path, const char *text);
void put_bytes(struct world *w, const char *path, const void *p, size_t n);
void take(struct world *w, const char *path); /* removes a file or a whole directory */
void print_of(struct world *w, const char *path, struct fingerprint *out); /* of the staged bytes */

/* --- acts in short ------------------------------------------------------------------------------------------------- */

struct act_request request_of(struct person *who, const char *note);
enum err sign_now(struct world *w, struct person *who, const char *path, bool recursive, struct act_answer *out); /* as staged */
enum err act_now(struct world *w, struct person *who, const char *act, const char *path, bool recursive, struct act_answer *out);
enum err act_expected(struct world *w, struct person *who, const char *act, const char *path, const struct sha256 *sha256,
    struct act_answer *out, struct selection *conflict);
struct path path_of(const char *s);

/* --- looking -------------------------------------------------------------------------------------------------------- */

enum file_state state_now(struct world *w, const char *path); /* STATE_COUNT: unknown */
char *exported(struct world *w, const char *path); /* the bytes, or NULL; the caller frees */
bool is_exported(struct world *w, const char *path);
/* A command must succeed; its output, with the last newline cut. The caller frees. */
char *run(const char *const *argv);
uint64_t head_seq(struct world *w, struct site *s);
/* Stock git verifies every commit of the log; tree of the log, of database and of export directory agree. */
void check_all(struct world *w);

#endif
