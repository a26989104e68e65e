#!/bin/bash
# SPDX-License-Identifier: MIT
#
# metal.sh BOARD [amalgam]: the bare-metal test boots on this board and says what tests/metal/BOARD.txt says.
exec "$VMF_SOURCE/scripts/metal.sh" "$1" "$VMF_BUILD/metal${2:+-$2}" ${2:+"$2"}
