#include <errno.h>
#include <fcntl.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/digest.h"
#include "base/file.h"
#include "base/mem.h"
#include "base/sys.h"
#include "repo/keyfile.h"
#include "repo/sshsig.h"

#define KEY_MAGIC "openssh-key-v1"
#define PEM_BEGIN "-----BEGIN OPENSSH PRIVATE KEY-----"
#define PEM_END "-----END OPENSSH PRIVATE KEY-----"
#define PEM_WIDTH 70
#define KEY_FILE_LIMIT 4096

/* A cursor over the parts of a key file; once past the end it stays broken. */
struct reader {
	const uint8_t *p;
	size_t left;
	bool bad;
};

static uint32_t get_u32(struct reader *r)
{
	uint32_t v;

	if (r->bad || r->left < 4) {
		r->bad = true;
		return 0;
	}
	v = (uint32_t)r->p[0] << 24 | (uint32_t)r->p[1] << 16 | (uint32_t)r->p[2] << 8 | r->p[3];
	r->p += 4;
	r->left -= 4;
	return v;
}

static struct reader get_string(struct reader *r)
{
	struct reader s = { .bad = true };
	uint32_t n = get_u32(r);

	if (r->bad || r->left < n) {
		r->bad = true;
		return s;
	}
	s = (struct reader){ .p = r->p, .left = n };
	r->p += n;
	r->left -= n;
	return s;
}

static bool string_is(struct reader s, const void *p, size_t n)
{
	return !s.bad && s.left == n && memcmp(s.p, p, n) == 0;
}

static void key_describe(struct node_key *k)
{
	key_id(k->public_key, k->id);
	key_text(k->public_key, k->text);
}

static enum err public_of_seed(uint8_t public_key[32], const uint8_t seed[32])
{
	EVP_PKEY *key = EVP_PKEY_new_raw_private_key(EVP_PKEY_ED25519, NULL, seed, 32);
	size_t n = 32;
	enum err e = ERR_OK;

	if (!key || EVP_PKEY_get_raw_public_key(key, public_key, &n) != 1 || n != 32)
		e = err_set(ERR_FAILED, "cannot make an Ed25519 key");
	EVP_PKEY_free(key);
	return e;
}

/* The key as ssh-keygen writes it without a passphrase. */
static void key_encode(const struct node_key *k, const char *comment, struct buf *out)
{
	struct buf raw = BUF_INIT(KEY_FILE_LIMIT), inner = BUF_INIT(KEY_FILE_LIMIT);
	uint8_t blob[SSHSIG_BLOB_SIZE], pair[64], check[4];
	uint32_t check_value;
	char *text;
	size_t len;

	/* two equal numbers: how a wrong passphrase would be noticed */
	random_bytes(check, sizeof(check));
	check_value = (uint32_t)check[0] << 24 | (uint32_t)check[1] << 16 | (uint32_t)check[2] << 8 | check[3];
	sshsig_put_u32(&inner, check_value);
	sshsig_put_u32(&inner, check_value);
	sshsig_put_string(&inner, "ssh-ed25519", 11);
	sshsig_put_string(&inner, k->public_key, 32);
	memcpy(pair, k->seed, 32);
	memcpy(pair + 32, k->public_key, 32);
	sshsig_put_string(&inner, pair, sizeof(pair));
	sshsig_put_string(&inner, comment, strlen(comment));
	for (char i = 1; inner.len % 8 != 0; i++)
		buf_char(&inner, i);

	sshsig_blob(blob, k->public_key);
	buf_add(&raw, KEY_MAGIC, sizeof(KEY_MAGIC));
	sshsig_put_string(&raw, "none", 4);
	sshsig_put_string(&raw, "none", 4);
	sshsig_put_string(&raw, "", 0);
	sshsig_put_u32(&raw, 1);
	sshsig_put_string(&raw, blob, sizeof(blob));
	sshsig_put_string(&raw, inner.p, inner.len);

	text = mem_alloc(base64_size(raw.len));
	base64_of(text, raw.p, raw.len);
	len = strlen(text);
	buf_str(out, PEM_BEGIN "\n");
	for (size_t i = 0; i < len; i += PEM_WIDTH) {
		buf_add(out, text + i, len - i < PEM_WIDTH ? len - i : PEM_WIDTH);
		buf_char(out, '\n');
	}
	buf_str(out, PEM_END "\n");

	OPENSSL_cleanse(pair, sizeof(pair));
	OPENSSL_cleanse(text, len);
	OPENSSL_cleanse(raw.p, raw.len);
	OPENSSL_cleanse(inner.p, inner.len);
	free(text);
	buf_release(&raw);
	buf_release(&inner);
}

static enum err key_decode(struct node_key *k, struct buf *pem, const char *file)
{
	uint8_t raw[KEY_FILE_LIMIT], blob[SSHSIG_BLOB_SIZE], made[32];
	size_t n = 0;
	struct reader r, inner, part;
	char *end;
	uint32_t check;
	enum err e = ERR_OK;

	if (memchr(pem->p, '\0', pem->len) || strncmp(pem->p, PEM_BEGIN "\n", sizeof(PEM_BEGIN)) != 0 ||
	    !(end = strstr(pem->p, "\n" PEM_END)))
		return err_set(ERR_FAILED, "%s is not an OpenSSH private key", file);
	*end = '\0';
	if (!base64_parse(raw, sizeof(raw), &n, pem->p + sizeof(PEM_BEGIN)))
		return err_set(ERR_FAILED, "%s is not an OpenSSH private key", file);

	r = (struct reader){ .p = raw, .left = n };
	if (n < sizeof(KEY_MAGIC) || memcmp(raw, KEY_MAGIC, sizeof(KEY_MAGIC)) != 0) {
		e = err_set(ERR_FAILED, "%s is not an OpenSSH private key", file);
		goto out;
	}
	r.p += sizeof(KEY_MAGIC);
	r.left -= sizeof(KEY_MAGIC);
	if (!string_is(get_string(&r), "none", 4) || !string_is(get_string(&r), "none", 4)) {
		e = err_set(ERR_FAILED, "%s has a passphrase: the node's key must be without one", file);
		goto out;
	}
	part = get_string(&r);
	if (part.left != 0 || get_u32(&r) != 1) {
		e = err_set(ERR_FAILED, "%s is not one OpenSSH private key", file);
		goto out;
	}
	part = get_string(&r);
	inner = get_string(&r);
	check = get_u32(&inner);
	if (r.bad || check != get_u32(&inner) || !string_is(get_string(&inner), "ssh-ed25519", 11)) {
		e = err_set(ERR_FAILED, "%s is not an Ed25519 key", file);
		goto out;
	}
	get_string(&inner); /* the public half again; the one that is used is computed from the private half */
	r = get_string(&inner);
	if (inner.bad || r.left != 64) {
		e = err_set(ERR_FAILED, "%s is damaged", file);
		goto out;
	}
	memcpy(k->seed, r.p, 32);
	memcpy(k->public_key, r.p + 32, 32);
	e = public_of_seed(made, k->seed);
	if (e)
		goto out;
	sshsig_blob(blob, made);
	if (memcmp(made, k->public_key, 32) != 0 || !string_is(part, blob, sizeof(blob)))
		e = err_set(ERR_FAILED, "%s is damaged: its halves do not belong together", file);
out:
	OPENSSL_cleanse(raw, sizeof(raw));
	return e;
}

enum err key_file_create(int dir, const char *name, const char *pub_name)
{
	struct node_key *k = mem_alloc(sizeof(*k));
	struct buf pem = BUF_INIT(KEY_FILE_LIMIT), pub = BUF_INIT(KEY_FILE_LIMIT);
	char comment[64];
	enum err e;

	random_bytes(k->seed, sizeof(k->seed));
	e = public_of_seed(k->public_key, k->seed);
	if (e)
		goto out;
	key_describe(k);
	snprintf(comment, sizeof(comment), "drydock-%.12s", k->id);
	key_encode(k, comment, &pem);
	buf_fmt(&pub, "%s %s\n", k->text, comment);
	e = buf_check(&pem);
	if (!e)
		e = buf_check(&pub);
	/* the public half first: where node.key is, both are */
	if (!e && pub_name)
		e = file_write(dir, pub_name, pub.p, pub.len, 0644);
	if (!e)
		e = file_write(dir, name, pem.p, pem.len, 0600);
out:
	if (pem.p)
		OPENSSL_cleanse(pem.p, pem.len);
	buf_release(&pem);
	buf_release(&pub);
	node_key_free(k);
	return e;
}

enum err node_key_create(const char *dir)
{
	int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	enum err e;

	if (fd < 0)
		return err_sys(ERR_FAILED, "cannot open %s", dir);
	e = file_exists(fd, KEY_FILE) ? err_set(ERR_STALE, "%s/%s is there already", dir, KEY_FILE) : key_file_create(fd, KEY_FILE, PUB_FILE);
	sys_close(fd);
	return e;
}

enum err key_file_load(struct node_key **out, int dir, const char *name, const char *file)
{
	struct node_key *k = mem_alloc(sizeof(*k));
	struct buf pem = BUF_INIT(KEY_FILE_LIMIT);
	struct stat st;
	int fd;
	enum err e;

	*out = NULL;
	fd = openat(dir, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	if (fd < 0 || fstat(fd, &st) != 0) {
		e = err_sys(errno == ENOENT ? ERR_NOT_FOUND : ERR_FAILED, "cannot open the node's key %s", file);
		goto out;
	}
	if (!S_ISREG(st.st_mode) || (st.st_mode & 077) != 0 || st.st_uid != geteuid()) {
		e = err_set(ERR_FAILED, "%s must be a file that only its owner, the user DryDock runs as, can read (chmod 600)",
		    file);
		goto out;
	}
	e = buf_read_fd(&pem, fd);
	if (e)
		goto out;
	if (pem.len == 0) {
		e = err_set(ERR_FAILED, "%s is empty", file);
		goto out;
	}
	e = key_decode(k, &pem, file);
	if (e)
		goto out;
	key_describe(k);
	*out = k;
	k = NULL;
out:
	if (fd >= 0)
		sys_close(fd);
	if (pem.p)
		OPENSSL_cleanse(pem.p, pem.len);
	buf_release(&pem);
	node_key_free(k);
	return e;
}

void node_key_free(struct node_key *k)
{
	if (!k)
		return;
	node_key_free(k->next);
	json_decref(k->statements);
	free(k->chain);
	OPENSSL_cleanse(k, sizeof(*k));
	free(k);
}

const char *node_key_id(const struct node_key *k)
{
	return k->id;
}

const char *node_key_public(const struct node_key *k)
{
	return k->text;
}

enum err node_key_sign(const struct node_key *k, const char *space, const void *p, size_t n, struct buf *armored)
{
	return sshsig_sign(k->seed, k->public_key, space, p, n, armored);
}
