//! Real threads and real sleeping, on the heap and on two mappings of one memfd: what the model checkers show of small scenarios, at length. The thread
//! sanitizer looks at the same scenarios (`cargo xtask san`).

mod scenarios;

macro_rules! on_each_memory {
    ($($name:ident),* $(,)?) => {
        mod on_the_heap { $(#[test] fn $name() { crate::scenarios::$name(crate::scenarios::heap()); })* }
        mod on_a_memfd { $(#[test] fn $name() { crate::scenarios::$name(crate::scenarios::mapped()); })* }
    };
}
on_each_memory!(messages_of_many_threads_arrive_once_and_in_order, calls_of_many_threads_get_their_answers, credit_paces_a_sender);
