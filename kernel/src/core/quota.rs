//! Limits.

/// What a task, and a user over all of its tasks, may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Ports and port sets of one task.
    pub task_ports: u64,
    /// Names of one task.
    pub task_names: u64,
    /// Bytes of messages queued for one task.
    pub task_queued_bytes: u64,
    /// Regions of one task.
    pub task_regions: u64,
    /// Bytes of regions of one task.
    pub task_region_bytes: u64,
    /// Notification requests of one task.
    pub task_notifications: u64,
    /// Lanes of one task.
    pub task_lanes: u64,
    /// Tasks of one user.
    pub user_tasks: u64,
    /// The other limits, over all tasks of a user, as a multiple of the task's.
    pub user_factor: u64,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            task_ports: 128 * 1024,
            task_names: 2 * 1024 * 1024,
            task_queued_bytes: 64 << 20,
            task_regions: 1024,
            task_region_bytes: 8 << 30,
            task_notifications: 1024 * 1024,
            task_lanes: 64,
            user_tasks: 4096,
            user_factor: 4,
        }
    }
}
