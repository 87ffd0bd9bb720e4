//! Swaps that go well.
use handoff_tests::World;

#[test]
fn the_actor_is_replaced_under_load() {
    let world = World::new();
    let supervisor = world.supervisor();
    let first = supervisor.cold_start(&world.build()).assert_committed();
    let (writer, unix_writer) = (world.writer(), world.unix_writer());
    writer.wait_for_write_by(first);
    for _ in 0..5 {
        let pid = supervisor.handoff(&world.build()).assert_committed();
        writer.wait_for_write_by(pid);
        unix_writer.wait_for_write_by(pid);
    }
    world.assert_one_serves_and_nothing_lost(&supervisor, &writer);
    world.assert_clean(&writer);
    world.assert_clean(&unix_writer);
}
