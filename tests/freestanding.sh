#!/bin/bash
# SPDX-License-Identifier: MIT
# core/, pmap/ and drivers/ compile for a CPU with nothing around them; `amalgam`: so does the one file made of them.
exec "$VMF_SOURCE/scripts/check-freestanding" "$@"
