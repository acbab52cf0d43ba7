/*
 * extract: the text of PDF and office files, for people who have to say what they sign. By outside programs (pdftotext,
 * bsdtar), each for one file, shut in: no network, nothing written, so much time, memory and output (base/confine.h).
 * The bytes are hostile and so is the text: it is shown escaped, like any other.
 */
#ifndef DRYDOCK_WEB_EXTRACT_H
#define DRYDOCK_WEB_EXTRACT_H

#include "base/buf.h"

#define EXTRACT_LIMIT (1 << 20) /* bytes of text; the rest is dropped */

/* Is this a kind of file, by the end of its name, whose text can be extracted? */
bool extract_can(const char *name);
/*
 * Append the text, UTF-8 or nearly, lines ended by LF. *cut: there was more. ERR_NOT_FOUND: the program is not
 * installed; ERR_INPUT: it found no sense in the bytes, or took too long: in both the sentence is for people.
 */
enum err extract_text(const char *name, const void *bytes, size_t len, struct buf *out, bool *cut) MUST_CHECK;

#endif
