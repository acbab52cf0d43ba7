/*
 * password: yescrypt through libcrypt. crypt_r wants 32 KiB of zeroed memory: heap, not a thread's stack.
 */
#include <crypt.h>
#include <errno.h>
#include <string.h>

#include "auth/internal.h"
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
