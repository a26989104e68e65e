# SPDX-License-Identifier: MIT
# Made by: vmfault --completion
_vmfault()
{
	local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]}
	COMPREPLY=()
	if [ "$COMP_CWORD" -eq 1 ]; then
		COMPREPLY=($(compgen -W 'serve bench probe --help --version' -- "$cur"))
		return
	fi
	case "${COMP_WORDS[1]} $prev" in
	'serve --socket') COMPREPLY=($(compgen -f -- "$cur"));;
	'serve --image') COMPREPLY=($(compgen -f -- "$cur"));;
	'serve --fault-around') ;;
	'serve --on-error') COMPREPLY=($(compgen -W 'auto poison stall kill' -- "$cur"));;
	'serve --threads') ;;
	'serve --pid-file') COMPREPLY=($(compgen -f -- "$cur"));;
	'serve '*) COMPREPLY=($(compgen -W '--socket --image --fault-around --on-error --threads --json --pid-file --help --version' -- "$cur"));;
	'bench --socket') COMPREPLY=($(compgen -f -- "$cur"));;
	'bench --size') ;;
	'bench --order') COMPREPLY=($(compgen -W 'random seq' -- "$cur"));;
	'bench --threads') ;;
	'bench --verify') COMPREPLY=($(compgen -f -- "$cur"));;
	'bench --timeout') ;;
	'bench '*) COMPREPLY=($(compgen -W '--socket --size --order --threads --verify --huge --timeout --json --help --version' -- "$cur"));;
	'probe '*) COMPREPLY=($(compgen -W '--json --help --version' -- "$cur"));;
	esac
}
complete -o filenames -F _vmfault vmfault
