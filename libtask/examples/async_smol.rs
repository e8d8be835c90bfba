//! A sensor sends readings; a consumer that is slower takes them as a stream, and the sensor waits for room, in one smol program.
//!
//! `cargo run -p umach-libtask --features smol --example async_smol`

use std::time::Duration;

use libtask::{Message, PortOptions, run_local};

fn main() -> libtask::Result<()> {
    run_local(|kernel| {
        let consumer = kernel.task("consumer")?;
        let port = consumer.new_port_with(PortOptions { queue_limit: Some(4), ..PortOptions::default() })?;
        consumer.set_bootstrap(&port.make_send()?)?;
        let (sensor, _control) = consumer.spawn_local("sensor")?;
        libtask::smol::attach(&consumer)?;
        libtask::smol::attach(&sensor)?;
        let readings = smol::spawn(async move {
            let to_consumer = sensor.bootstrap()?;
            for reading in 0..20u32 {
                to_consumer.send_async(Message::new(1).body(&reading)).await?;
            }
            Ok::<(), libtask::Error>(())
        });
        smol::block_on(async {
            let mut incoming = port.incoming();
            let mut sum = 0;
            for _ in 0..20 {
                let message = incoming.next().await.expect("it ends with an error only")?;
                smol::Timer::after(Duration::from_millis(5)).await;
                sum += message.body::<u32>()?;
            }
            readings.await?;
            println!("20 readings, the sum is {sum}");
            Ok(())
        })
    })
}
