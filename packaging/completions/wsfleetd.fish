# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_wsfleetd_global_optspecs
    string join \n config= h/help V/version
end

function __fish_wsfleetd_needs_command
    # Figure out if the current invocation already has a command.
    set -l cmd (commandline -opc)
    set -e cmd[1]
    argparse -s (__fish_wsfleetd_global_optspecs) -- $cmd 2>/dev/null
    or return
    if set -q argv[1]
        # Also print the command, so this can be used to figure out what it is.
        echo $argv[1]
        return 1
    end
    return 0
end

function __fish_wsfleetd_using_subcommand
    set -l cmd (__fish_wsfleetd_needs_command)
    test -z "$cmd"
    and return 1
    contains -- $cmd[1] $argv
end

complete -c wsfleetd -n "__fish_wsfleetd_needs_command" -l config -d 'Configuration file; `conf.d/*.toml` beside it and WSFLEETD__SECTION__KEY come after it [default: /etc/wsfleetd/wsfleetd.toml, if it exists]' -r -F
complete -c wsfleetd -n "__fish_wsfleetd_needs_command" -s h -l help -d 'Print help'
complete -c wsfleetd -n "__fish_wsfleetd_needs_command" -s V -l version -d 'Print version'
complete -c wsfleetd -n "__fish_wsfleetd_needs_command" -f -a "run" -d 'Serve until SIGTERM'
complete -c wsfleetd -n "__fish_wsfleetd_needs_command" -f -a "demo" -d 'Serve the original application\'s users on loopback, alone and in memory'
complete -c wsfleetd -n "__fish_wsfleetd_needs_command" -f -a "check-config" -d 'Check the configuration and say all that is wrong with it'
complete -c wsfleetd -n "__fish_wsfleetd_needs_command" -f -a "doctor" -d 'Say what is wrong with this instance, and what to do first'
complete -c wsfleetd -n "__fish_wsfleetd_needs_command" -f -a "fleet" -d 'See who is in the fleet, and take out who must not be any more'
complete -c wsfleetd -n "__fish_wsfleetd_needs_command" -f -a "users" -d 'Look after the directory of users'
complete -c wsfleetd -n "__fish_wsfleetd_needs_command" -f -a "status" -d 'Say how the daemon on this machine is doing'
complete -c wsfleetd -n "__fish_wsfleetd_needs_command" -f -a "top" -d 'Watch this instance and the fleet: connections, rates, CPU, memory, peers, slow clients'
complete -c wsfleetd -n "__fish_wsfleetd_needs_command" -f -a "connections" -d 'List the connections of the daemon on this machine, in the order in which they came'
complete -c wsfleetd -n "__fish_wsfleetd_needs_command" -f -a "kick" -d 'Close all connections of a user, on every instance of the fleet; the user may connect again'
complete -c wsfleetd -n "__fish_wsfleetd_needs_command" -f -a "log-level" -d 'Show, or change until the next start or a new telemetry.level, how much the daemon on this machine logs'
complete -c wsfleetd -n "__fish_wsfleetd_needs_command" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c wsfleetd -n "__fish_wsfleetd_using_subcommand run" -l config -d 'Configuration file; `conf.d/*.toml` beside it and WSFLEETD__SECTION__KEY come after it [default: /etc/wsfleetd/wsfleetd.toml, if it exists]' -r -F
complete -c wsfleetd -n "__fish_wsfleetd_using_subcommand run" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c wsfleetd -n "__fish_wsfleetd_using_subcommand demo" -l port -d 'Port of the page and of `ws://127.0.0.1:PORT/ws`; the next two serve the API and the operator' -r
complete -c wsfleetd -n "__fish_wsfleetd_using_subcommand demo" -l config -d 'Configuration file; `conf.d/*.toml` beside it and WSFLEETD__SECTION__KEY come after it [default: /etc/wsfleetd/wsfleetd.toml, if it exists]' -r -F
complete -c wsfleetd -n "__fish_wsfleetd_using_subcommand demo" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c wsfleetd -n "__fish_wsfleetd_using_subcommand check-config" -l config -d 'Configuration file; `conf.d/*.toml` beside it and WSFLEETD__SECTION__KEY come after it [default: /etc/wsfleetd/wsfleetd.toml, if it exists]' -r -F
complete -c wsfleetd -n "__fish_wsfleetd_using_subcommand check-config" -l print -d 'Print the effective values and where each comes from, secrets hidden'
complete -c wsfleetd -n "__fish_wsfleetd_using_subcommand check-config" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c wsfleetd -n "__fish_wsfleetd_using_subcommand doctor" -l config -d 'Configuration file; `conf.d/*.toml` beside it and WSFLEETD__SECTION__KEY come after it [default: /etc/wsfleetd/wsfleetd.toml, if it exists]' -r -F
complete -c wsfleetd -n "__fish_wsfleetd_using_subcommand doctor" -l json -d 'One JSON object, for scripts'
complete -c wsfleetd -n "__fish_wsfleetd_using_subcommand doctor" -l strict -d 'Exit with 1 for warnings, too'
complete -c wsfleetd -n "__fish_wsfleetd_using_subcommand doctor" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c wsfleetd -n "__fish_wsfleetd_using_subcommand fleet; and not __fish_seen_subcommand_from list purge help" -l config -d 'Configuration file; `conf.d/*.toml` beside it and WSFLEETD__SECTION__KEY come after it [default: /etc/wsfleetd/wsfleetd.toml, if it exists]' -r -F
complete -c wsfleetd -n "__fish_wsfleetd_using_subcommand fleet; and not __fish_seen_subcommand_from list purge help" -s h -l help -d 'Print help'
complete -c wsfleetd -n "__fish_wsfleetd_using_subcommand fleet; and not __fish_seen_subcommand_from list purge help" -f -a "list" -d 'List the members: instance, epoch, whether it is alive, where it is'
complete -c wsfleetd -n "__fish_wsfleetd_using_subcommand fleet; and not __fish_seen_subcommand_from list purge help" -f -a "purge" -d 'Take an instance out of the fleet and free what it left; refuses one that is alive'
complete -c wsfleetd -n "__fish_wsfleetd_using_subcommand fleet; and not __fish_seen_subcommand_from list purge help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c wsfleetd -n "__fish_wsfleetd_using_subcommand fleet; and __fish_seen_subcommand_from list" -l config -d 'Configuration file; `conf.d/*.toml` beside it and WSFLEETD__SECTION__KEY come after it [default: /etc/wsfleetd/wsfleetd.toml, if it exists]' -r -F
complete -c wsfleetd -n "__fish_wsfleetd_using_subcommand fleet; and __fish_seen_subcommand_from list" -l json -d 'Print one JSON object per line'
complete -c wsfleetd -n "__fish_wsfleetd_using_subcommand fleet; and __fish_seen_subcommand_from list" -s h -l help -d 'Print help'
complete -c wsfleetd -n "__fish_wsfleetd_using_subcommand fleet; and __fish_seen_subcommand_from purge" -l config -d 'Configuration file; `conf.d/*.toml` beside it and WSFLEETD__SECTION__KEY come after it [default: /etc/wsfleetd/wsfleetd.toml, if it exists]' -r -F
complete -c wsfleetd -n "__fish_wsfleetd_using_subcommand fleet; and __fish_seen_subcommand_from purge" -l force -d 'Also if it is alive: it will find itself given up, and join again'
complete -c wsfleetd -n "__fish_wsfleetd_using_subcommand fleet; and __fish_seen_subcommand_from purge" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c wsfleetd -n "__fish_wsfleetd_using_subcommand fleet; and __fish_seen_subcommand_from help" -f -a "list" -d 'List the members: instance, epoch, whether it is alive, where it is'
complete -c wsfleetd -n "__fish_wsfleetd_using_subcommand fleet; and __fish_seen_subcommand_from help" -f -a "purge" -d 'Take an instance out of the fleet and free what it left; refuses one that is alive'
complete -c wsfleetd -n "__fish_wsfleetd_using_subcommand fleet; and __fish_seen_subcommand_from help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c wsfleetd -n "__fish_wsfleetd_using_subcommand users; and not __fish_seen_subcommand_from migrate add disable enable remove passwd show list export help" -l config -d 'Configuration file; `conf.d/*.toml` beside it and WSFLEETD__SECTION__KEY come after it [default: /etc/wsfleetd/wsfleetd.toml, if it exists]' -r -F
complete -c wsfleetd -n "__fish_wsfleetd_using_subcommand users; and not __fish_seen_subcommand_from migrate add disable enable remove passwd show list export help" -s h -l help -d 'Print help'
complete -c wsfleetd -n "__fish_wsfleetd_using_subcommand users; and not __fish_seen_subcommand_from migrate add disable enable remove passwd show list export help" -f -a "migrate" -d 'Create or update the tables in PostgreSQL; safe to repeat'
complete -c wsfleetd -n "__fish_wsfleetd_using_subcommand users; and not __fish_seen_subcommand_from migrate add disable enable remove passwd show list export help" -f -a "add" -d 'Register a user'
complete -c wsfleetd -n "__fish_wsfleetd_using_subcommand users; and not __fish_seen_subcommand_from migrate add disable enable remove passwd show list export help" -f -a "disable" -d 'Keep a user registered, but let them in no more and close their connections'
complete -c wsfleetd -n "__fish_wsfleetd_using_subcommand users; and not __fish_seen_subcommand_from migrate add disable enable remove passwd show list export help" -f -a "enable" -d 'Let a disabled user in again'
complete -c wsfleetd -n "__fish_wsfleetd_using_subcommand users; and not __fish_seen_subcommand_from migrate add disable enable remove passwd show list export help" -f -a "remove" -d 'Strike a user from the directory and close their connections'
complete -c wsfleetd -n "__fish_wsfleetd_using_subcommand users; and not __fish_seen_subcommand_from migrate add disable enable remove passwd show list export help" -f -a "passwd" -d 'Give a user a new password, asked for on the terminal'
complete -c wsfleetd -n "__fish_wsfleetd_using_subcommand users; and not __fish_seen_subcommand_from migrate add disable enable remove passwd show list export help" -f -a "show" -d 'Print one user'
complete -c wsfleetd -n "__fish_wsfleetd_using_subcommand users; and not __fish_seen_subcommand_from migrate add disable enable remove passwd show list export help" -f -a "list" -d 'Print the users, in the order of their names'
complete -c wsfleetd -n "__fish_wsfleetd_using_subcommand users; and not __fish_seen_subcommand_from migrate add disable enable remove passwd show list export help" -f -a "export" -d 'Print the users as the CSV that users.file reads'
complete -c wsfleetd -n "__fish_wsfleetd_using_subcommand users; and not __fish_seen_subcommand_from migrate add disable enable remove passwd show list export help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c wsfleetd -n "__fish_wsfleetd_using_subcommand users; and __fish_seen_subcommand_from migrate" -l config -d 'Configuration file; `conf.d/*.toml` beside it and WSFLEETD__SECTION__KEY come after it [default: /etc/wsfleetd/wsfleetd.toml, if it exists]' -r -F
complete -c wsfleetd -n "__fish_wsfleetd_using_subcommand users; and __fish_seen_subcommand_from migrate" -s h -l help -d 'Print help'
complete -c wsfleetd -n "__fish_wsfleetd_using_subcommand users; and __fish_seen_subcommand_from add" -l first-name -d 'Empty if it is not given' -r
complete -c wsfleetd -n "__fish_wsfleetd_using_subcommand users; and __fish_seen_subcommand_from add" -l last-name -d 'Empty if it is not given' -r
complete -c wsfleetd -n "__fish_wsfleetd_using_subcommand users; and __fish_seen_subcommand_from add" -l mobile -d 'For example +49 171 5550123' -r
complete -c wsfleetd -n "__fish_wsfleetd_using_subcommand users; and __fish_seen_subcommand_from add" -l config -d 'Configuration file; `conf.d/*.toml` beside it and WSFLEETD__SECTION__KEY come after it [default: /etc/wsfleetd/wsfleetd.toml, if it exists]' -r -F
complete -c wsfleetd -n "__fish_wsfleetd_using_subcommand users; and __fish_seen_subcommand_from add" -l password-stdin -d 'Read the password from the first line of standard input'
complete -c wsfleetd -n "__fish_wsfleetd_using_subcommand users; and __fish_seen_subcommand_from add" -s h -l help -d 'Print help'
complete -c wsfleetd -n "__fish_wsfleetd_using_subcommand users; and __fish_seen_subcommand_from disable" -l config -d 'Configuration file; `conf.d/*.toml` beside it and WSFLEETD__SECTION__KEY come after it [default: /etc/wsfleetd/wsfleetd.toml, if it exists]' -r -F
complete -c wsfleetd -n "__fish_wsfleetd_using_subcommand users; and __fish_seen_subcommand_from disable" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c wsfleetd -n "__fish_wsfleetd_using_subcommand users; and __fish_seen_subcommand_from enable" -l config -d 'Configuration file; `conf.d/*.toml` beside it and WSFLEETD__SECTION__KEY come after it [default: /etc/wsfleetd/wsfleetd.toml, if it exists]' -r -F
complete -c wsfleetd -n "__fish_wsfleetd_using_subcommand users; and __fish_seen_subcommand_from enable" -s h -l help -d 'Print help'
complete -c wsfleetd -n "__fish_wsfleetd_using_subcommand users; and __fish_seen_subcommand_from remove" -l config -d 'Configuration file; `conf.d/*.toml` beside it and WSFLEETD__SECTION__KEY come after it [default: /etc/wsfleetd/wsfleetd.toml, if it exists]' -r -F
complete -c wsfleetd -n "__fish_wsfleetd_using_subcommand users; and __fish_seen_subcommand_from remove" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c wsfleetd -n "__fish_wsfleetd_using_subcommand users; and __fish_seen_subcommand_from passwd" -l config -d 'Configuration file; `conf.d/*.toml` beside it and WSFLEETD__SECTION__KEY come after it [default: /etc/wsfleetd/wsfleetd.toml, if it exists]' -r -F
complete -c wsfleetd -n "__fish_wsfleetd_using_subcommand users; and __fish_seen_subcommand_from passwd" -l password-stdin -d 'Read the password from the first line of standard input'
complete -c wsfleetd -n "__fish_wsfleetd_using_subcommand users; and __fish_seen_subcommand_from passwd" -l delete -d 'Take the password away: no more login by password'
complete -c wsfleetd -n "__fish_wsfleetd_using_subcommand users; and __fish_seen_subcommand_from passwd" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c wsfleetd -n "__fish_wsfleetd_using_subcommand users; and __fish_seen_subcommand_from show" -l config -d 'Configuration file; `conf.d/*.toml` beside it and WSFLEETD__SECTION__KEY come after it [default: /etc/wsfleetd/wsfleetd.toml, if it exists]' -r -F
complete -c wsfleetd -n "__fish_wsfleetd_using_subcommand users; and __fish_seen_subcommand_from show" -l json -d 'A JSON object, for scripts'
complete -c wsfleetd -n "__fish_wsfleetd_using_subcommand users; and __fish_seen_subcommand_from show" -s h -l help -d 'Print help'
complete -c wsfleetd -n "__fish_wsfleetd_using_subcommand users; and __fish_seen_subcommand_from list" -l config -d 'Configuration file; `conf.d/*.toml` beside it and WSFLEETD__SECTION__KEY come after it [default: /etc/wsfleetd/wsfleetd.toml, if it exists]' -r -F
complete -c wsfleetd -n "__fish_wsfleetd_using_subcommand users; and __fish_seen_subcommand_from list" -l json -d 'One JSON object per line, for scripts'
complete -c wsfleetd -n "__fish_wsfleetd_using_subcommand users; and __fish_seen_subcommand_from list" -s h -l help -d 'Print help'
complete -c wsfleetd -n "__fish_wsfleetd_using_subcommand users; and __fish_seen_subcommand_from export" -l config -d 'Configuration file; `conf.d/*.toml` beside it and WSFLEETD__SECTION__KEY come after it [default: /etc/wsfleetd/wsfleetd.toml, if it exists]' -r -F
complete -c wsfleetd -n "__fish_wsfleetd_using_subcommand users; and __fish_seen_subcommand_from export" -l password-hashes -d 'With the hashes of their passwords, which let anybody guess at leisure'
complete -c wsfleetd -n "__fish_wsfleetd_using_subcommand users; and __fish_seen_subcommand_from export" -s h -l help -d 'Print help'
complete -c wsfleetd -n "__fish_wsfleetd_using_subcommand users; and __fish_seen_subcommand_from help" -f -a "migrate" -d 'Create or update the tables in PostgreSQL; safe to repeat'
complete -c wsfleetd -n "__fish_wsfleetd_using_subcommand users; and __fish_seen_subcommand_from help" -f -a "add" -d 'Register a user'
complete -c wsfleetd -n "__fish_wsfleetd_using_subcommand users; and __fish_seen_subcommand_from help" -f -a "disable" -d 'Keep a user registered, but let them in no more and close their connections'
complete -c wsfleetd -n "__fish_wsfleetd_using_subcommand users; and __fish_seen_subcommand_from help" -f -a "enable" -d 'Let a disabled user in again'
complete -c wsfleetd -n "__fish_wsfleetd_using_subcommand users; and __fish_seen_subcommand_from help" -f -a "remove" -d 'Strike a user from the directory and close their connections'
complete -c wsfleetd -n "__fish_wsfleetd_using_subcommand users; and __fish_seen_subcommand_from help" -f -a "passwd" -d 'Give a user a new password, asked for on the terminal'
complete -c wsfleetd -n "__fish_wsfleetd_using_subcommand users; and __fish_seen_subcommand_from help" -f -a "show" -d 'Print one user'
complete -c wsfleetd -n "__fish_wsfleetd_using_subcommand users; and __fish_seen_subcommand_from help" -f -a "list" -d 'Print the users, in the order of their names'
complete -c wsfleetd -n "__fish_wsfleetd_using_subcommand users; and __fish_seen_subcommand_from help" -f -a "export" -d 'Print the users as the CSV that users.file reads'
complete -c wsfleetd -n "__fish_wsfleetd_using_subcommand users; and __fish_seen_subcommand_from help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c wsfleetd -n "__fish_wsfleetd_using_subcommand status" -l config -d 'Configuration file; `conf.d/*.toml` beside it and WSFLEETD__SECTION__KEY come after it [default: /etc/wsfleetd/wsfleetd.toml, if it exists]' -r -F
complete -c wsfleetd -n "__fish_wsfleetd_using_subcommand status" -l json -d 'One JSON object, for scripts'
complete -c wsfleetd -n "__fish_wsfleetd_using_subcommand status" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c wsfleetd -n "__fish_wsfleetd_using_subcommand top" -l interval -d 'Between two looks, from 200ms to 1m' -r
complete -c wsfleetd -n "__fish_wsfleetd_using_subcommand top" -l config -d 'Configuration file; `conf.d/*.toml` beside it and WSFLEETD__SECTION__KEY come after it [default: /etc/wsfleetd/wsfleetd.toml, if it exists]' -r -F
complete -c wsfleetd -n "__fish_wsfleetd_using_subcommand top" -l once -d 'Print one frame and end'
complete -c wsfleetd -n "__fish_wsfleetd_using_subcommand top" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c wsfleetd -n "__fish_wsfleetd_using_subcommand connections" -l user -d 'Only this user\'s' -r
complete -c wsfleetd -n "__fish_wsfleetd_using_subcommand connections" -l config -d 'Configuration file; `conf.d/*.toml` beside it and WSFLEETD__SECTION__KEY come after it [default: /etc/wsfleetd/wsfleetd.toml, if it exists]' -r -F
complete -c wsfleetd -n "__fish_wsfleetd_using_subcommand connections" -l json -d 'One JSON object per line, for scripts'
complete -c wsfleetd -n "__fish_wsfleetd_using_subcommand connections" -s h -l help -d 'Print help'
complete -c wsfleetd -n "__fish_wsfleetd_using_subcommand kick" -l config -d 'Configuration file; `conf.d/*.toml` beside it and WSFLEETD__SECTION__KEY come after it [default: /etc/wsfleetd/wsfleetd.toml, if it exists]' -r -F
complete -c wsfleetd -n "__fish_wsfleetd_using_subcommand kick" -l json -d 'One JSON object, for scripts'
complete -c wsfleetd -n "__fish_wsfleetd_using_subcommand kick" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c wsfleetd -n "__fish_wsfleetd_using_subcommand log-level" -l config -d 'Configuration file; `conf.d/*.toml` beside it and WSFLEETD__SECTION__KEY come after it [default: /etc/wsfleetd/wsfleetd.toml, if it exists]' -r -F
complete -c wsfleetd -n "__fish_wsfleetd_using_subcommand log-level" -l json -d 'One JSON object, for scripts'
complete -c wsfleetd -n "__fish_wsfleetd_using_subcommand log-level" -s h -l help -d 'Print help'
complete -c wsfleetd -n "__fish_wsfleetd_using_subcommand help; and not __fish_seen_subcommand_from run demo check-config doctor fleet users status top connections kick log-level help" -f -a "run" -d 'Serve until SIGTERM'
complete -c wsfleetd -n "__fish_wsfleetd_using_subcommand help; and not __fish_seen_subcommand_from run demo check-config doctor fleet users status top connections kick log-level help" -f -a "demo" -d 'Serve the original application\'s users on loopback, alone and in memory'
complete -c wsfleetd -n "__fish_wsfleetd_using_subcommand help; and not __fish_seen_subcommand_from run demo check-config doctor fleet users status top connections kick log-level help" -f -a "check-config" -d 'Check the configuration and say all that is wrong with it'
complete -c wsfleetd -n "__fish_wsfleetd_using_subcommand help; and not __fish_seen_subcommand_from run demo check-config doctor fleet users status top connections kick log-level help" -f -a "doctor" -d 'Say what is wrong with this instance, and what to do first'
complete -c wsfleetd -n "__fish_wsfleetd_using_subcommand help; and not __fish_seen_subcommand_from run demo check-config doctor fleet users status top connections kick log-level help" -f -a "fleet" -d 'See who is in the fleet, and take out who must not be any more'
complete -c wsfleetd -n "__fish_wsfleetd_using_subcommand help; and not __fish_seen_subcommand_from run demo check-config doctor fleet users status top connections kick log-level help" -f -a "users" -d 'Look after the directory of users'
complete -c wsfleetd -n "__fish_wsfleetd_using_subcommand help; and not __fish_seen_subcommand_from run demo check-config doctor fleet users status top connections kick log-level help" -f -a "status" -d 'Say how the daemon on this machine is doing'
complete -c wsfleetd -n "__fish_wsfleetd_using_subcommand help; and not __fish_seen_subcommand_from run demo check-config doctor fleet users status top connections kick log-level help" -f -a "top" -d 'Watch this instance and the fleet: connections, rates, CPU, memory, peers, slow clients'
complete -c wsfleetd -n "__fish_wsfleetd_using_subcommand help; and not __fish_seen_subcommand_from run demo check-config doctor fleet users status top connections kick log-level help" -f -a "connections" -d 'List the connections of the daemon on this machine, in the order in which they came'
complete -c wsfleetd -n "__fish_wsfleetd_using_subcommand help; and not __fish_seen_subcommand_from run demo check-config doctor fleet users status top connections kick log-level help" -f -a "kick" -d 'Close all connections of a user, on every instance of the fleet; the user may connect again'
complete -c wsfleetd -n "__fish_wsfleetd_using_subcommand help; and not __fish_seen_subcommand_from run demo check-config doctor fleet users status top connections kick log-level help" -f -a "log-level" -d 'Show, or change until the next start or a new telemetry.level, how much the daemon on this machine logs'
complete -c wsfleetd -n "__fish_wsfleetd_using_subcommand help; and not __fish_seen_subcommand_from run demo check-config doctor fleet users status top connections kick log-level help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c wsfleetd -n "__fish_wsfleetd_using_subcommand help; and __fish_seen_subcommand_from fleet" -f -a "list" -d 'List the members: instance, epoch, whether it is alive, where it is'
complete -c wsfleetd -n "__fish_wsfleetd_using_subcommand help; and __fish_seen_subcommand_from fleet" -f -a "purge" -d 'Take an instance out of the fleet and free what it left; refuses one that is alive'
complete -c wsfleetd -n "__fish_wsfleetd_using_subcommand help; and __fish_seen_subcommand_from users" -f -a "migrate" -d 'Create or update the tables in PostgreSQL; safe to repeat'
complete -c wsfleetd -n "__fish_wsfleetd_using_subcommand help; and __fish_seen_subcommand_from users" -f -a "add" -d 'Register a user'
complete -c wsfleetd -n "__fish_wsfleetd_using_subcommand help; and __fish_seen_subcommand_from users" -f -a "disable" -d 'Keep a user registered, but let them in no more and close their connections'
complete -c wsfleetd -n "__fish_wsfleetd_using_subcommand help; and __fish_seen_subcommand_from users" -f -a "enable" -d 'Let a disabled user in again'
complete -c wsfleetd -n "__fish_wsfleetd_using_subcommand help; and __fish_seen_subcommand_from users" -f -a "remove" -d 'Strike a user from the directory and close their connections'
complete -c wsfleetd -n "__fish_wsfleetd_using_subcommand help; and __fish_seen_subcommand_from users" -f -a "passwd" -d 'Give a user a new password, asked for on the terminal'
complete -c wsfleetd -n "__fish_wsfleetd_using_subcommand help; and __fish_seen_subcommand_from users" -f -a "show" -d 'Print one user'
complete -c wsfleetd -n "__fish_wsfleetd_using_subcommand help; and __fish_seen_subcommand_from users" -f -a "list" -d 'Print the users, in the order of their names'
complete -c wsfleetd -n "__fish_wsfleetd_using_subcommand help; and __fish_seen_subcommand_from users" -f -a "export" -d 'Print the users as the CSV that users.file reads'
