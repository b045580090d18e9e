//! The fleet is broken in every way there is a verb for, and watched from outside meanwhile.
//!
//! The rows of the failure matrix (COORDINATION §5), and where each is told; what is not said to be
//! elsewhere is below this module:
//!
//! | event | story |
//! |---|---|
//! | Redis down 30 s | `redis::away_for_half_a_minute_it_costs_nobody_a_connection` |
//! | failover, last ~1 s lost | `redis::a_replica_that_missed_writes_takes_over` |
//! | FLUSHALL | `redis::flushed_it_knows_everybody_again` |
//! | kill −9, host loss | `instance::killed_it_costs_the_others_nothing` |
//! | SIGSTOP 60 s, resume | `instance::after_a_minute_of_standing_still_it_is_a_new_member` |
//! | cut off from Redis, clients fine | `instance::cut_off_alone_it_keeps_its_sockets`, `instance::cut_off_alone_for_long_it_sends_its_clients_away_and_comes_back_without_them` |
//! | clock skew ±1 h on instances | `clock::hours_apart_instances_agree` |
//! | Redis clock step back | `clock::a_redis_whose_clock_goes_back_loses_nothing` |
//! | slow consumer | `frames::slow` |
//! | same device twice | `planted::a_younger_owner_displaces_the_old_one_who_takes_nothing_along` |
//! | different devices | `clients::devices_on_every_instance_hear_everything_once` |
//! | slot migration | the tests of Redis Cluster |
//! | subscriber buffer overflow | `redis::a_subscriber_that_redis_has_cut_hears_again` |
//! | Redis OOM | `redis::full_it_still_lets_go_of_the_dead` |
//!
//! And what the matrix has no row for: restart with data, standing still, 100 ms per command and
//! late writes (`redis`), silence of many at once and a return in the midst of the reaping
//! (`instance`), logins at the same moment, races of coming and going (`clients`). `replayed` is about
//! the replay of such a run by the model.

mod clients;
mod clock;
mod instance;
mod planted;
mod random;
mod redis;
mod replayed;
