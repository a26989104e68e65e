/* SPDX-License-Identifier: MIT
 *
 * The demo's image: every page says which one it is, so that a wrong page is told from a right one; some are holes.
 */
#ifndef VMF_DEMO_IMAGE_H
#define VMF_DEMO_IMAGE_H
#include <stdbool.h>
#include <stdint.h>

enum { IMAGE_PAGE = 4096 };
enum image_page { PAGE_RIGHT, PAGE_ZERO, PAGE_OTHER, PAGE_BROKEN }; /* OTHER: the bytes of another page */

/* 0, or a negative errno.  Replaces the file. */
int image_make(const char *path, uint64_t bytes);
bool image_hole(uint64_t page);
enum image_page image_check(uint64_t page, const void *bytes);

#endif
