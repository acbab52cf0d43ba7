#include "repo/sshsig.h"
#include "repo_fixture.h"

#include <sys/stat.h>

static void key_is_ssh_keygens(void **state)
{
	struct fixture *f = *state;
	struct buf out = BUF_INIT(4096), pub = BUF_INIT(4096);
	const char *argv[] = { "ssh-keygen", "-y", "-f", "node.key", NULL };
	char file[96];

	assert_int_equal(fixture_run(f, argv, NULL, &out), 0);
	snprintf(file, sizeof(file), "%s/node.pub", f->dir);
	assert_ok(file_read(AT_FDCWD, file, &pub));
	assert_string_equal(out.p, pub.p);
	assert_memory_equal(node_key_public(f->key), pub.p, strlen(node_key_public(f->key)));
	assert_int_equal(strlen(node_key_id(f->key)), 64);
	buf_release(&out);
	buf_release(&pub);
}

static void key_of_ssh_keygen_loads(void **state)
{
	struct fixture *f = *state;
	struct buf out = BUF_INIT(4096), pub = BUF_INIT(4096);
	struct node_key *k = NULL;
	char dir[96], file[128];
	const char *argv[] = { "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "a comment of some length", "-f", "other/node.key", NULL };
	const char *locked[] = { "ssh-keygen", "-q", "-p", "-N", "secret", "-f", "other/node.key", NULL };

	snprintf(dir, sizeof(dir), "%s/other", f->dir);
	assert_ok(file_mkdirs(dir, 0700));
	assert_int_equal(fixture_run(f, argv, NULL, &out), 0);
	assert_ok(node_key_load(&k, dir));
	snprintf(file, sizeof(file), "%s/node.key.pub", dir);
	assert_ok(file_read(AT_FDCWD, file, &pub));
	assert_memory_equal(node_key_public(k), pub.p, strlen(node_key_public(k)));
	assert_string_not_equal(node_key_id(k), node_key_id(f->key));
	node_key_free(k);
	assert_int_equal(fixture_run(f, locked, NULL, &out), 0);
	assert_err(ERR_FAILED, node_key_load(&k, dir));
	assert_non_null(strstr(err_text(), "passphrase"));
	buf_release(&out);
	buf_release(&pub);
}

static void key_is_refused(void **state)
{
	struct fixture *f = *state;
	struct node_key *k = NULL;
	struct buf pem = BUF_INIT(8192);
	char file[96], *at;

	snprintf(file, sizeof(file), "%s/node.key", f->dir);
	assert_err(ERR_STALE, node_key_create(f->dir));
	assert_int_equal(chmod(file, 0640), 0);
	assert_err(ERR_FAILED, node_key_load(&k, f->dir));
	assert_non_null(strstr(err_text(), "chmod 600"));
	/* a byte of the public half in the middle, then less and less of the file */
	assert_ok(file_read(AT_FDCWD, file, &pem));
	at = strchr(pem.p, '\n') + 70;
	*at = *at == 'A' ? 'B' : 'A';
	assert_ok(file_write(AT_FDCWD, file, pem.p, pem.len, 0600));
	assert_err(ERR_FAILED, node_key_load(&k, f->dir));
	*at = *at == 'A' ? 'B' : 'A';
	for (size_t n = 0; n + 40 < pem.len; n += 7) {
		struct buf part = BUF_INIT(8192);
		buf_add(&part, pem.p, n);
		buf_str(&part, "\n-----END OPENSSH PRIVATE KEY-----\n");
		assert_ok(file_write(AT_FDCWD, file, part.p, part.len, 0600));
		assert_err(ERR_FAILED, node_key_load(&k, f->dir));
		buf_release(&part);
	}
	assert_ok(file_write(AT_FDCWD, file, "", 0, 0600));
	assert_err(ERR_FAILED, node_key_load(&k, f->dir));
	assert_int_equal(unlink(file), 0);
	assert_err(ERR_NOT_FOUND, node_key_load(&k, f->dir));
	assert_null(k);
	buf_release(&pem);
}

static int verify(struct fixture *f, const char *space, const char *bytes)
{
	const char *argv[] = { "ssh-keygen", "-Y", "verify", "-f", "allowed_signers", "-I", "node@drydock.invalid", "-n", space, "-s", "sig",
		NULL };
	struct buf out = BUF_INIT(4096);
	int status = fixture_run(f, argv, bytes, &out);

	buf_release(&out);
	return status;
}

static void signature_is_ssh_keygens(void **state)
{
	struct fixture *f = *state;
	static const char *const spaces[] = { "git", "drydock-release", "drydock-receipt" };
	const char *text = "release 1\n";
	char file[96];

	snprintf(file, sizeof(file), "%s/sig", f->dir);
	/* ssh-keygen judges by the present time */
	snprintf(file, sizeof(file), "%s/allowed_signers", f->dir);
	assert_ok(node_key_write_allowed_signers(f->key, file, INT64_C(1600000000) * CLOCK_SECOND));
	snprintf(file, sizeof(file), "%s/sig", f->dir);
	for (size_t i = 0; i < 3; i++) {
		struct buf sig = BUF_INIT(4096), again = BUF_INIT(4096);
		assert_ok(node_key_sign(f->key, spaces[i], text, strlen(text), &sig));
		assert_ok(node_key_sign(f->key, spaces[i], text, strlen(text), &again));
		assert_string_equal(sig.p, again.p);
		assert_ok(file_write(AT_FDCWD, file, sig.p, sig.len, 0600));
		assert_int_equal(verify(f, spaces[i], text), 0);
		assert_int_not_equal(verify(f, spaces[(i + 1) % 3], text), 0);
		assert_int_not_equal(verify(f, spaces[i], "release 2\n"), 0);
		assert_ok(sshsig_verify(node_key_bytes(f->key), spaces[i], text, strlen(text), sig.p, sig.len));
		assert_err(ERR_DENIED, sshsig_verify(node_key_bytes(f->key), spaces[(i + 1) % 3], text, strlen(text), sig.p, sig.len));
		assert_err(ERR_DENIED, sshsig_verify(node_key_bytes(f->key), spaces[i], text, strlen(text) - 1, sig.p, sig.len));
		/* any one byte of it changed, or any end cut off */
		for (size_t k = 0; k < sig.len; k++) {
			char was = sig.p[k];
			sig.p[k] = was == 'A' ? 'B' : 'A';
			if (sshsig_verify(node_key_bytes(f->key), spaces[i], text, strlen(text), sig.p, sig.len) == ERR_OK)
				fail_msg("byte %zu changed from %d and still good", k, was);
			sig.p[k] = was;
			if (k < sig.len - 1)
				assert_err(ERR_DENIED, sshsig_verify(node_key_bytes(f->key), spaces[i], text, strlen(text), sig.p, k));
		}
		buf_release(&sig);
		buf_release(&again);
	}
	/* a namespace that the allowed-signers file does not grant */
	{
		struct buf sig = BUF_INIT(4096);
		assert_ok(node_key_sign(f->key, "file", text, strlen(text), &sig));
		assert_ok(file_write(AT_FDCWD, file, sig.p, sig.len, 0600));
		assert_int_not_equal(verify(f, "file", text), 0);
		buf_release(&sig);
	}
}

static void signature_of_ssh_keygen_verifies(void **state)
{
	struct fixture *f = *state;
	const char *argv[] = { "ssh-keygen", "-q", "-Y", "sign", "-f", "node.key", "-n", "drydock-receipt", NULL };
	struct buf sig = BUF_INIT(4096);

	assert_int_equal(fixture_run(f, argv, "receipt\n", &sig), 0);
	char *begin = strstr(sig.p, "-----BEGIN");
	assert_non_null(begin);
	assert_ok(sshsig_verify(node_key_bytes(f->key), "drydock-receipt", "receipt\n", 8, begin, strlen(begin)));
	buf_release(&sig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(key_is_ssh_keygens, fixture_begin, fixture_end),
		cmocka_unit_test_setup_teardown(key_of_ssh_keygen_loads, fixture_begin, fixture_end),
		cmocka_unit_test_setup_teardown(key_is_refused, fixture_begin, fixture_end),
		cmocka_unit_test_setup_teardown(signature_is_ssh_keygens, fixture_begin, fixture_end),
		cmocka_unit_test_setup_teardown(signature_of_ssh_keygen_verifies, fixture_begin, fixture_end),
	};
	return cmocka_run_group_tests_name("repo key", tests, NULL, NULL);
}
