/*
 * password: yescrypt through libcrypt. crypt_r wants 32 KiB of zeroed memory: heap, not a thread's stack.
 */
#include <crypt.h>
#include <errno.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "auth/internal.h"
#include "base/pool.h"
#include "base/utf8.h"

/* Hash into out; false if libcrypt refuses the setting. The working memory held the password: it is wiped. */
static bool hash_with(const char *password, const char *setting, char out[CRYPT_OUTPUT_SIZE])
{
	struct crypt_data *data = mem_alloc(sizeof *data);
	const char *result = crypt_r(password, setting, data);
	bool ok = result && result[0] != '*';

	if (ok)
		memcpy(out, result, strnlen(result, CRYPT_OUTPUT_SIZE - 1) + 1);
	explicit_bzero(data, sizeof *data);
	free(data);
	return ok;
}

char *password_setting(void)
{
	/* No bytes of ours: libcrypt takes them from the kernel. 0: Debian's own cost. */
	return crypt_gensalt_ra("$y$", 0, NULL, 0);
}

enum err auth_password_hash(const char *password, char out[384])
{
	char hash[CRYPT_OUTPUT_SIZE];
	size_t n = strlen(password);
	char *setting;
	bool ok;

	_Static_assert(CRYPT_OUTPUT_SIZE <= 384, "auth.h promises room for a hash");
	if (n > PASSWORD_LIMIT)
		return err_set(ERR_INPUT, "The password is too long: at most %d bytes.", PASSWORD_LIMIT);
	if (!utf8_valid(password, n))
		return err_set(ERR_INPUT, "The password is not valid UTF-8.");
	if (n < PASSWORD_MIN)
		return err_set(ERR_INPUT, "The password is too short: at least %d characters.", PASSWORD_MIN);
	setting = password_setting();
	if (!setting)
		return err_sys(ERR_FAILED, "A salt for yescrypt could not be made");
	ok = hash_with(password, setting, hash);
	free(setting);
	if (!ok)
		return err_set(ERR_FAILED, "libcrypt does not offer yescrypt here.");
	memcpy(out, hash, strlen(hash) + 1);
	explicit_bzero(hash, sizeof hash);
	return ERR_OK;
}

bool password_matches(const char *password, const char *hash, const char *dummy)
{
	char got[CRYPT_OUTPUT_SIZE] = "";
	size_t n = strlen(hash);
	bool same;

	/* An unknown name costs the same as a wrong password. */
	if (!hash_with(password, n ? hash : dummy, got))
		return false;
	same = n && strlen(got) == n && bytes_equal_secret(got, hash, n);
	explicit_bzero(got, sizeof got);
	return same;
}

/* --- behind all others --------------------------------------------------------------------------------------------- */

#define NICE 10
#define QUEUE 1024

struct job {
	const char *password, *hash, *dummy;
	bool right, done;
	pthread_mutex_t lock;
	pthread_cond_t cond;
};

/* On Linux a thread has a nice value of its own. */
static void *give_way(void *arg)
{
	if (setpriority(PRIO_PROCESS, (id_t)syscall(SYS_gettid), NICE))
		return NULL;
	return arg;
}

static void run_job(void *arg, void *worker)
{
	struct job *j = arg;

	(void)worker;
	j->right = password_matches(j->password, j->hash, j->dummy);
	pthread_mutex_lock(&j->lock);
	j->done = true;
	pthread_cond_signal(&j->cond);
	pthread_mutex_unlock(&j->lock);
}

bool password_matches_quietly(struct auth *a, const char *password, const char *hash)
{
	struct job j = { .password = password, .hash = hash, .dummy = a->dummy, .lock = PTHREAD_MUTEX_INITIALIZER, .cond = PTHREAD_COND_INITIALIZER };

	pthread_mutex_lock(&a->lock);
	if (!a->hasher)
		a->hasher = pool_new("hash", 1, QUEUE, give_way, NULL, a);
	pthread_mutex_unlock(&a->lock);
	if (pool_add(a->hasher, (struct pool_job){ run_job, &j }))
		return false; /* as many wait as there are connections: not reached */
	pthread_mutex_lock(&j.lock);
	while (!j.done)
		pthread_cond_wait(&j.cond, &j.lock);
	pthread_mutex_unlock(&j.lock);
	return j.right;
}
