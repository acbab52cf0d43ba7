/* keyfile: what key.c (a key in a file) and keys.c (the keys of a node, and the change from one to the next) share. */
#ifndef DRYDOCK_REPO_KEYFILE_H
#define DRYDOCK_REPO_KEYFILE_H

#include "base/json.h"
#include "repo/keychain.h"
#include "repo/repo.h"

#define KEY_FILE "node.key"
#define PUB_FILE "node.pub"

struct node_key {
	uint8_t seed[32];
	uint8_t public_key[32];
	char id[SHA256_HEX]; /* of the first key */
	char text[KEY_TEXT];
	struct keychain *chain; /* NULL: it is the first and only one */
	json_t *statements; /* of the changes: a statement and its signature (base64), in turn; NULL: none */
	struct node_key *next; /* a change has begun; NULL: none */
};

/* pub_name may be NULL. */
enum err key_file_create(int dir, const char *name, const char *pub_name) MUST_CHECK;
/* file: for the sentences. ERR_NOT_FOUND; ERR_FAILED: not a key, of a wrong mode or owner, with a passphrase. */
enum err key_file_load(struct node_key **out, int dir, const char *name, const char *file) MUST_CHECK;

#endif
