use std::sync::Arc;
use std::time::Instant;
use umach_link::*;
fn main(){
 let m=create().unwrap(); let a=Arc::new(Mapping::new(&m).unwrap()); let b=Arc::new(Mapping::new(&m).unwrap());
 for size in [0usize,32,64,512,1024,4000]{
 let mut out=Outgoing::new(a.clone(),0); let mut inc=Incoming::new(b.clone(),1);
 let p=vec![7u8;size]; let mut o=vec![0u8;size];
 let n=200000u32; let batch=6;
 let t=Instant::now();
 let (mut tp,mut tc)=(0u128,0u128);
 for i in 0..n/batch { let t0=Instant::now(); for k in 0..batch { let _=out.push(RecordHead{kind:1,id:i+k,..Default::default()},&[&p]).unwrap(); } 
   let t1=Instant::now();
   while let Some(r)=inc.next().unwrap(){ inc.payload_into(&r,&mut o); let _=inc.consume(r);} tp+=(t1-t0).as_nanos(); tc+=t1.elapsed().as_nanos(); }
 println!("{size}: push {} ns, take {} ns, {:?}", tp/n as u128, tc/n as u128, t.elapsed());
 // quiet
 let mut out=Outgoing::new(a.clone(),0); let mut inc=Incoming::new(b.clone(),1);
 let (mut tp,mut tc)=(0u128,0u128);
 for i in 0..n/batch { let t0=Instant::now(); for k in 0..batch { let _=out.push_quiet(RecordHead{kind:1,id:i+k,..Default::default()},&[&p]).unwrap(); } let _=out.flush();
   let t1=Instant::now();
   while let Some(r)=inc.next().unwrap(){ inc.payload_into(&r,&mut o); let _=inc.consume(r);} tp+=(t1-t0).as_nanos(); tc+=t1.elapsed().as_nanos(); }
 println!("   quiet {size}: push {} ns, take {} ns", tp/n as u128, tc/n as u128);
 }
}
