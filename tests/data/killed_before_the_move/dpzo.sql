BEGIN TRANSACTION;
CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO "alembic_version" VALUES('v3.2.0.a');
CREATE TABLE budgets (
	name VARCHAR(255) NOT NULL, 
	terms TEXT NOT NULL, 
	fingerprint VARCHAR(255), 
	num_entries INTEGER NOT NULL, 
	head_hash VARCHAR(64) NOT NULL, 
	last_at VARCHAR(64) NOT NULL, 
	PRIMARY KEY (name), 
	UNIQUE (fingerprint)
);
INSERT INTO "budgets" VALUES('private','{"adjacency":"add-or-remove-one","composition":"sum","delta":0.0,"epsilon":null,"name":"private","num_units":4000,"order":null,"renyi_limit":null,"unit":"example"}','47581294ff7cc27433ae8d10efbe381d1bfe9ae1457a168464a2bef96de74d6a',3,'49229c486bfaa20ea966d9ad07bb938fefa94fe4b2bbb8601ff89af35918e8fe','2026-11-30T08:37:43.905059+00:00');
CREATE TABLE caps (
	name VARCHAR(255) NOT NULL, 
	kind VARCHAR(64) NOT NULL, 
	parameters TEXT NOT NULL, 
	cap BIGINT NOT NULL, 
	per_holder BIGINT, 
	num_moved BIGINT NOT NULL, 
	num_drawn BIGINT NOT NULL, 
	num_draws BIGINT NOT NULL, 
	head_hash VARCHAR(64) NOT NULL, 
	last_at VARCHAR(64) NOT NULL, 
	PRIMARY KEY (name, kind), 
	FOREIGN KEY(name) REFERENCES reservations (name)
);
INSERT INTO "caps" VALUES('killed-run','train_step','{"noise":"gaussian","noise_multiplier":0.48346505500376225,"sampling_prob":0.0020000000949949026}',40,NULL,0,16,16,'3f422c1a829ec0c95186c32277e7d7239dd0495ea0b928e6d8e55e5b2300bd20','2026-11-30');
INSERT INTO "caps" VALUES('killed-sweep','train_step','{"noise":"gaussian","noise_multiplier":0.46828419994562864,"sampling_prob":0.0020000000949949026}',120,NULL,0,57,57,'1832101e2cdda12a42394721c08bfc83d7aa26344e6ed75fc880e166f526bfa8','2026-11-30');
CREATE TABLE draws (
	name VARCHAR(255) NOT NULL, 
	kind VARCHAR(64) NOT NULL, 
	sequence BIGINT NOT NULL, 
	first BIGINT NOT NULL, 
	num_tokens BIGINT NOT NULL, 
	price BIGINT NOT NULL, 
	holder VARCHAR(255) NOT NULL, 
	step BIGINT, 
	nonce VARCHAR(64), 
	drawn_at VARCHAR(64) NOT NULL, 
	hash VARCHAR(64) NOT NULL, 
	PRIMARY KEY (name, kind, sequence), 
	FOREIGN KEY(name, kind) REFERENCES caps (name, kind), 
	UNIQUE (name, kind, nonce)
);
INSERT INTO "draws" VALUES('killed-run','train_step',0,0,1,1,'run',0,'0723e14e4fd2c19f9896fe14e9d26886','2026-11-30','e48bb7ab8a7ae7947c3c9ece7ee389e254677beb96f3387df85cf677978e5d6d');
INSERT INTO "draws" VALUES('killed-run','train_step',1,1,1,1,'run',1,'d8845d7a9a28b3b6d5bae0f406600b38','2026-11-30','a799073e7aa3727ee340053859ff59f826c12d4c25c6e189b58b2ce46cb1311a');
INSERT INTO "draws" VALUES('killed-run','train_step',2,2,1,1,'run',2,'901ded90953f20e02c357d48f19f0c62','2026-11-30','3eee1f21fbec6e8457295d05421b24ce24e931bd375b650d054fc4bec1fad423');
INSERT INTO "draws" VALUES('killed-run','train_step',3,3,1,1,'run',3,'e55ea869fb4922c510040c831ef32db8','2026-11-30','44ec30f630a2f20ed84c87681e51569e8f5a43bf998df321a3d401aa18813e92');
INSERT INTO "draws" VALUES('killed-run','train_step',4,4,1,1,'run',4,'322e4f449d741402eae82a83bcc23a5f','2026-11-30','48bb6ff194e714d30b9518cbcd4661ce091d5d54f931957f47ba8ea332c60dad');
INSERT INTO "draws" VALUES('killed-run','train_step',5,5,1,1,'run',5,'07f2de21c3b4025f66ca2b55fef6f2da','2026-11-30','c1e8e8ea0f06bbb15ebd20eb6c5aa3951a82e875380544fe16c4342333042360');
INSERT INTO "draws" VALUES('killed-run','train_step',6,6,1,1,'run',6,'a1c351cbb39b70b7425430e7cb94a000','2026-11-30','66ecbefaab6e1d6955896ac895b0c006ec9c4bf36edce93fda14289ec2f85534');
INSERT INTO "draws" VALUES('killed-run','train_step',7,7,1,1,'run',7,'64ee497647dbfa06a097929c2339edf6','2026-11-30','b5e9be3ebd0e1c72f7be3c0f78da7951ae5bb79f9671d740fa82787160214fee');
INSERT INTO "draws" VALUES('killed-run','train_step',8,8,1,1,'run',8,'ef44bfba6a4b8de418af881bd9fecc64','2026-11-30','ec7c17385a95b8fbc1491e8aa33b18c13af140cde2130e100648b35b0fc1f410');
INSERT INTO "draws" VALUES('killed-run','train_step',9,9,1,1,'run',9,'4a5cbe08fda57b332fb48995e7ba5a75','2026-11-30','1fd373a8dba72fdcca53557b4e1fdf06a4437e0e245d239b700c9413f9ef8082');
INSERT INTO "draws" VALUES('killed-run','train_step',10,10,1,1,'run',10,'0f7d0de1ff2512391e652c1423ec04e1','2026-11-30','8bdd1ad2036c9a85cb5de31fc3bcc7d9ddfffa8eaa7218a3edca71898fbf5b14');
INSERT INTO "draws" VALUES('killed-run','train_step',11,11,1,1,'run',11,'ac2485f60516afe2080c263165c4aea3','2026-11-30','7dbb228247cc5ff072f0409e582bd023cdb63092825cd761995b3f220b92c400');
INSERT INTO "draws" VALUES('killed-run','train_step',12,12,1,1,'run',12,'490134ddf85d5139b108c349b16cdd60','2026-11-30','e135f9420fb06824c3cd2474a459af34326d5d0d88eb6aa36956e2a5c4cbaa9d');
INSERT INTO "draws" VALUES('killed-run','train_step',13,13,1,1,'run',13,'803fb1dcf06d22174a0441fe5349dae6','2026-11-30','b0ce5a4b8f703ba6ac778449f095524fa93ebe146a7765c3c64e809c25dbee41');
INSERT INTO "draws" VALUES('killed-run','train_step',14,14,1,1,'run',14,'1f585b7e3b11c705c8e80f59c8d75a75','2026-11-30','51120e3216b07ad620fde4c024ebccc4476cc86a82f18486c2278adb3d9ba7a0');
INSERT INTO "draws" VALUES('killed-run','train_step',15,15,1,1,'run',15,'f769c1c93bf1d03c8f75c7c28f6a3a03','2026-11-30','3f422c1a829ec0c95186c32277e7d7239dd0495ea0b928e6d8e55e5b2300bd20');
INSERT INTO "draws" VALUES('killed-sweep','train_step',0,0,1,1,'trial-000',0,'0864c945c9dc63f460e782492eb968c7','2026-11-30','7363c8ff282e23acf635597d2b735fce47923f83913e74981d374bf9a6f865ce');
INSERT INTO "draws" VALUES('killed-sweep','train_step',1,1,1,1,'trial-000',1,'8ff3bded48ae56d7c10a800cc24fa4e7','2026-11-30','32f46fded1e1854dd6e897f8bdb1e8f9237c5b7433df79e2577ddf05bedfa2da');
INSERT INTO "draws" VALUES('killed-sweep','train_step',2,2,1,1,'trial-000',2,'c848295e8bf653f38bc249cfe21815c6','2026-11-30','94f610c6878ac9e431e111d1baeff83a8772d8d3d819161de65da4c5b98f12d7');
INSERT INTO "draws" VALUES('killed-sweep','train_step',3,3,1,1,'trial-000',3,'64df6a4883306739f64aa918136dce74','2026-11-30','9826cea7a1e21092a69396cc2900a6344904a933948816f7e4e127b74d95a11f');
INSERT INTO "draws" VALUES('killed-sweep','train_step',4,4,1,1,'trial-000',4,'eaff93573d5ed94ea219ee7d43cf6aa9','2026-11-30','4017d9d8731aa2229229fc6887059a1cff1bceb402dd5fd8fc01592c82c6c724');
INSERT INTO "draws" VALUES('killed-sweep','train_step',5,5,1,1,'trial-000',5,'0b68b61c5e417c3410704ca13cf029e1','2026-11-30','8ab8f71455c9587a11d9d6de07fe3a1d84d1d42edf78f5e3093db6be21b3138b');
INSERT INTO "draws" VALUES('killed-sweep','train_step',6,6,1,1,'trial-000',6,'07bedf6cc3156e19eaa55098541a1fa6','2026-11-30','12be007cc9774869d14a12812e73110355adbdfaf868e2db4f47dc1def609642');
INSERT INTO "draws" VALUES('killed-sweep','train_step',7,7,1,1,'trial-000',7,'9b8a4cbcede4f13f14ab73cd05b879e1','2026-11-30','1aaeda418caaf23df6b27ceef776b4c43a56ea8bfedaa8b30f0249314c64fd40');
INSERT INTO "draws" VALUES('killed-sweep','train_step',8,8,1,1,'trial-000',8,'6d0ee5117fd3ef939b4fa6061029db87','2026-11-30','7588b9b8500bdcf5c8a268a8e6311ba45b0e92a3c7b512ca0febe00fa7bd8c38');
INSERT INTO "draws" VALUES('killed-sweep','train_step',9,9,1,1,'trial-000',9,'4be6d090c15c8b7dee9b9f4be1695644','2026-11-30','fa4b1f865f79e4acd67bb13a437e8849fcc6630738acd264bcb1a438ba6ede0e');
INSERT INTO "draws" VALUES('killed-sweep','train_step',10,10,1,1,'trial-000',10,'fd8365724ce095880986b0f07ebf8883','2026-11-30','cef9ee89f2254177a2221499e814c8f3a1803d881ecef48e3d0a2ad74fa87eb5');
INSERT INTO "draws" VALUES('killed-sweep','train_step',11,11,1,1,'trial-000',11,'d32b5042a869631ef3cff16351f6e072','2026-11-30','069ea39294235c2b89935c8bee4c3407e140382e9b822fa1301f8ddbba1a035b');
INSERT INTO "draws" VALUES('killed-sweep','train_step',12,12,1,1,'trial-000',12,'89c290d45c2c141b269aee035fd22d43','2026-11-30','7795e671d71101bddff8221f515d32ad5dea64e9319e49d1361284196991bcf7');
INSERT INTO "draws" VALUES('killed-sweep','train_step',13,13,1,1,'trial-000',13,'0dfb5c820ed3ba964cf1f7d32d80f5f6','2026-11-30','baf316e31231616af042c4584a6e396768b4ad2cbb7456b84c90c4be875b4021');
INSERT INTO "draws" VALUES('killed-sweep','train_step',14,14,1,1,'trial-000',14,'83016cfb9362bdb88450c9a221938b7e','2026-11-30','6d403d759daafc76b0576dfd334ee578eb654f28b6609e1523fd6127887c8e05');
INSERT INTO "draws" VALUES('killed-sweep','train_step',15,15,1,1,'trial-000',15,'85e7e4456b9c8a2165a8ed6caf18ff8a','2026-11-30','ac408dd92fb93843a91556858f353035a9a548f29edf09b23f7119700b5afae7');
INSERT INTO "draws" VALUES('killed-sweep','train_step',16,16,1,1,'trial-000',16,'1b74f3814d7977fd2024ba78352b9057','2026-11-30','6a4fdec6b6be26b960485e7e5ff059aacbba37bdb9a9ede7124fe79cf4023c1e');
INSERT INTO "draws" VALUES('killed-sweep','train_step',17,17,1,1,'trial-000',17,'e2204d6df196bc10c3f46482dd627049','2026-11-30','c3bd2cca2009e6c06f0c0bd755b00ab3aa6cc21e79610a00b0a9bbbe5f941672');
INSERT INTO "draws" VALUES('killed-sweep','train_step',18,18,1,1,'trial-000',18,'55911816fde101adebe0637df9fc6a43','2026-11-30','50ffb86a4d320c0db94b4431ad4091ef4777626ce3355feab5aa54a50424f2b8');
INSERT INTO "draws" VALUES('killed-sweep','train_step',19,19,1,1,'trial-000',19,'5fc711dbe74c92e349aa58b797bd66d6','2026-11-30','f1d60f7f533122dea8affa2fbb77a7366f15eec6806b51d1664d6be5a1a3b346');
INSERT INTO "draws" VALUES('killed-sweep','train_step',20,20,1,1,'trial-000',20,'db4bc0cd7d42fd75b01e090708f1242e','2026-11-30','92b4cfb5ae70f3b429271c1f68158edba96012110a030faaeef76cc9af986c07');
INSERT INTO "draws" VALUES('killed-sweep','train_step',21,21,1,1,'trial-000',21,'f11df7794d0720e3ffca05371dc2439f','2026-11-30','bd44a027f8061fba79005f374c70841d5f711df456473e5dcbe1231e253559f5');
INSERT INTO "draws" VALUES('killed-sweep','train_step',22,22,1,1,'trial-000',22,'d082b8a9d930df6292a1d38887b792f8','2026-11-30','91b40e601bfffe7ae71d32f5554158328ccc7aef3fd69c8d7c3d616d3b1e086b');
INSERT INTO "draws" VALUES('killed-sweep','train_step',23,23,1,1,'trial-000',23,'f031ae2d28482226b360c41857f87b3b','2026-11-30','ad6c2f5dc963930d3fdfad811d825c23d58c8b25328f3fab281820b5ab858db8');
INSERT INTO "draws" VALUES('killed-sweep','train_step',24,24,1,1,'trial-000',24,'5338afd91a7c274b36f1406818de88a9','2026-11-30','ef79cce6059eada3f95bf7ea859c49f374beff64a593633f34f187ad1723eea9');
INSERT INTO "draws" VALUES('killed-sweep','train_step',25,25,1,1,'trial-000',25,'f7509633701f24013adccd418e72a18d','2026-11-30','5596adab8c56f07c7181cf2e4a25c3df3d22e19a2b9629c4032bc37833aafc5b');
INSERT INTO "draws" VALUES('killed-sweep','train_step',26,26,1,1,'trial-000',26,'0da023c28428ad876c953cc70f61c51f','2026-11-30','12f7e82e55f1ec8d946fcc5693b11eb77d9bb32dd9ca0f96f417d706a5881e61');
INSERT INTO "draws" VALUES('killed-sweep','train_step',27,27,1,1,'trial-000',27,'4149a5736a0eb8934540e2d6e42fc8b2','2026-11-30','eb900424e6c18a0fb53311fccc90db2a30ee5850be8ec521dd133c7a52f11fdd');
INSERT INTO "draws" VALUES('killed-sweep','train_step',28,28,1,1,'trial-000',28,'d45d7e5d107a927264ce19db8e4675a7','2026-11-30','d07296e759d2098feee3b654cf006505bb7af4057b781349ab59fe02e8a4d872');
INSERT INTO "draws" VALUES('killed-sweep','train_step',29,29,1,1,'trial-000',29,'9c1e0c7a13f06c682a4d80afc3ebb632','2026-11-30','173d0ee2d44d4c28f080ab02609574c578eb3fac5e46c2ad4fbcf7ed98a4dc28');
INSERT INTO "draws" VALUES('killed-sweep','train_step',30,30,1,1,'trial-000',30,'d6e5606ddc15e07e08c9278c5377a5d4','2026-11-30','ef6ab4ccf4c0167e1a262a555528db920dd0867d0119a684960570a348ca53cb');
INSERT INTO "draws" VALUES('killed-sweep','train_step',31,31,1,1,'trial-000',31,'e1986cb250190e4c63acbe78efd923ec','2026-11-30','b64b4edbb2e5dd764bd5407b23dda4caa73927eb33eed323c643cffc1ea3db25');
INSERT INTO "draws" VALUES('killed-sweep','train_step',32,32,1,1,'trial-000',32,'64b4b762d8443a8340c8576f06787661','2026-11-30','1cbbb17e861590287bebd225457d3c9691572976c92b7716a8a669c8c89a181b');
INSERT INTO "draws" VALUES('killed-sweep','train_step',33,33,1,1,'trial-000',33,'bcba46b5d17f063e3dd757d912bf504f','2026-11-30','8f7eff25ae9bb8d7d6647e4c6d9ae104e571b9a2a01d5d82a5698d0f1546b30e');
INSERT INTO "draws" VALUES('killed-sweep','train_step',34,34,1,1,'trial-000',34,'8f64b499daf898b32b0c49a6ca46c976','2026-11-30','262aa442e6e51ec34050cdc8ebbeda500d16d379c2e505f8df46ec63f8b5cbd0');
INSERT INTO "draws" VALUES('killed-sweep','train_step',35,35,1,1,'trial-000',35,'2b908dac0d514f8d8904c89be99a355b','2026-11-30','a659cf4d616d1b83ca2162a6eeb82b427cd2c0632dc6196c73a4a2a54d79af57');
INSERT INTO "draws" VALUES('killed-sweep','train_step',36,36,1,1,'trial-000',36,'3264ba22401a2d679ffdf920b79722ad','2026-11-30','7507be14e980ed4ee51a39c5f5336ba8736fba18b168be1ab149e1064155382f');
INSERT INTO "draws" VALUES('killed-sweep','train_step',37,37,1,1,'trial-000',37,'bf76ebd9dd24d462d5fdf29f03d63201','2026-11-30','ef505f45adcaae4cbfb77e5711f583cbb665557a04bae0ddd0cda0fdbcbbd660');
INSERT INTO "draws" VALUES('killed-sweep','train_step',38,38,1,1,'trial-000',38,'a86b4f4c70142f438dace0044954265d','2026-11-30','e22f375a68b7423867532537003b3b3ecb21158c4b60799fd3a9690532b32023');
INSERT INTO "draws" VALUES('killed-sweep','train_step',39,39,1,1,'trial-000',39,'8dcf995085db1e1a0ba34433afc08d7e','2026-11-30','4bf9f6101b6550460df45c0bcd482017cd5de896fe42141e524ae48a22ee7ded');
INSERT INTO "draws" VALUES('killed-sweep','train_step',40,40,1,1,'trial-001',0,'1f77746f7b8d0256e0458f3d6b63fbe3','2026-11-30','782b20b091849161053c5eb0f1f0fe2f5ddd76550f9535e766494cab7b7885bf');
INSERT INTO "draws" VALUES('killed-sweep','train_step',41,41,1,1,'trial-001',1,'669a3464e34ecac40fb6b9adb4637280','2026-11-30','695b22165d359ab4813d4b92a68f37e0f7b6e6c4dcf4a12ce3ff5f9efe83c43f');
INSERT INTO "draws" VALUES('killed-sweep','train_step',42,42,1,1,'trial-001',2,'0d050d690551ac78f11267061b5e73ce','2026-11-30','58194d4a87d9ef0247171c5d1a21fb0f7b01810dae6abdcbe4e8ff645b61f204');
INSERT INTO "draws" VALUES('killed-sweep','train_step',43,43,1,1,'trial-001',3,'b34eb7dd50e7d5d83741e423dbb11209','2026-11-30','0c675d63a993e6dc44ecbbbbac49f08ad47f5bb0ef35bef63ede37ab609607ee');
INSERT INTO "draws" VALUES('killed-sweep','train_step',44,44,1,1,'trial-001',4,'234beaee3d1d905004049a4a7f9bdbac','2026-11-30','e737e4f6b27f7e3fa1a8c041fcc0faa4d9dbfc4cdc9980137acc693331d8231b');
INSERT INTO "draws" VALUES('killed-sweep','train_step',45,45,1,1,'trial-001',5,'fb11c3bc772e3f52c02771442f3f4b76','2026-11-30','6e4078a885449ef554021dc5074de89541d061d1f76797cb4ab23a5703a53808');
INSERT INTO "draws" VALUES('killed-sweep','train_step',46,46,1,1,'trial-001',6,'520c60ce1abb216c840deca3f627834e','2026-11-30','061f243629b19ee93f94d7c1aa6ac39c384fca5fb5ca8ffd65e71cca07643bad');
INSERT INTO "draws" VALUES('killed-sweep','train_step',47,47,1,1,'trial-001',7,'0b83a11a917d8aa5893f83d838cc5ecd','2026-11-30','59b2f73902536759fb24c4e8e5a50d8dbf889b136987ea3d655a19cac259a681');
INSERT INTO "draws" VALUES('killed-sweep','train_step',48,48,1,1,'trial-001',8,'133ab2b5fcf4b0747aab32289e986266','2026-11-30','de91c45583f6c4ce7e625a632e916628d6f351cc380b8899592b05db03767141');
INSERT INTO "draws" VALUES('killed-sweep','train_step',49,49,1,1,'trial-001',9,'240d44c87bda266ffbc82ab501033209','2026-11-30','92ce9ea76b930dd359fed9d712832534a39146811f7c699201230f3915ed88fc');
INSERT INTO "draws" VALUES('killed-sweep','train_step',50,50,1,1,'trial-001',10,'996937c74955ec94aafa6f0f780c53a5','2026-11-30','433ecdc13534276dda465e241c0fbc686a1b149593b8b30dd682b8fd47d8e782');
INSERT INTO "draws" VALUES('killed-sweep','train_step',51,51,1,1,'trial-001',11,'bf3c786cba83ea77bcfb436d186514eb','2026-11-30','d2639bd2f9adfc5ccfa036393ae19ba759107aaef623748286f9626cb8bb49ce');
INSERT INTO "draws" VALUES('killed-sweep','train_step',52,52,1,1,'trial-001',12,'79c791254e1797946deffae79cffaadd','2026-11-30','66bdea5412f5b08e08f3afca43a2993140fb2c00fc1220eb53fac66e2f060c86');
INSERT INTO "draws" VALUES('killed-sweep','train_step',53,53,1,1,'trial-001',13,'87b015c8d01e4c567ff4363efb9c60bb','2026-11-30','b8f298a4f5ab23ac96fa41ed73227786de245887957bdbaf9e305ef07ba6508a');
INSERT INTO "draws" VALUES('killed-sweep','train_step',54,54,1,1,'trial-001',14,'63b5998e8552cc656b3187dad5948d48','2026-11-30','99d1fef52f55868373796f0bf13b8ade74e8fb55e36d443276a7bfa40a566f90');
INSERT INTO "draws" VALUES('killed-sweep','train_step',55,55,1,1,'trial-001',15,'b34613048ac05a728a57bb5ab5628487','2026-11-30','0804b942fcce75ff1764c198a826fb2aca26c3df46e556e69348cdd0c0b30d67');
INSERT INTO "draws" VALUES('killed-sweep','train_step',56,56,1,1,'trial-001',16,'f998a934c89a3d0960151fd4ce89d896','2026-11-30','1832101e2cdda12a42394721c08bfc83d7aa26344e6ed75fc880e166f526bfa8');
CREATE TABLE entries (
	budget VARCHAR(255) NOT NULL, 
	sequence INTEGER NOT NULL, 
	entry VARCHAR(32) NOT NULL, 
	name VARCHAR(255), 
	content TEXT NOT NULL, 
	made_at VARCHAR(64) NOT NULL, 
	hash VARCHAR(64) NOT NULL, 
	PRIMARY KEY (budget, sequence), 
	FOREIGN KEY(budget) REFERENCES budgets (name)
);
INSERT INTO "entries" VALUES('private',0,'created',NULL,'{"fingerprint":"47581294ff7cc27433ae8d10efbe381d1bfe9ae1457a168464a2bef96de74d6a","terms":{"adjacency":"add-or-remove-one","composition":"sum","delta":0.0,"epsilon":null,"name":"private","num_units":4000,"order":null,"renyi_limit":null,"unit":"example"}}','2026-11-30T08:36:55.351475+00:00','b92d775cfc17b0320fd00bbcd4bedd85bfda455fbfeee5f3b32ecd7eaafd6620');
INSERT INTO "entries" VALUES('private',1,'reserved','killed-run','{"secret":null,"terms":{"budget":"private","caps":{"train_step":{"count":40,"parameters":{"noise":"gaussian","noise_multiplier":0.48346505500376225,"sampling_prob":0.0020000000949949026},"per_holder":null}},"cost":{"delta":1e-05,"epsilon":2.9961133769321107,"renyi":null,"rule":{"disjoint":false,"evaluation":null,"rule":"caps","train_step":{"noise":"gaussian","noise_multiplier":0.48346505500376225,"num_coordinates":2,"num_steps":40,"sampling_prob":0.0020000000949949026},"units":null}},"has_secret":false,"max_holders":null,"reused":{}}}','2026-11-30T08:36:55.367563+00:00','d439412cc2b76e133367e0ae3caebe575664b425029532a7c3681ed8ff249bc8');
INSERT INTO "entries" VALUES('private',2,'reserved','killed-sweep','{"secret":null,"terms":{"budget":"private","caps":{"train_step":{"count":120,"parameters":{"noise":"gaussian","noise_multiplier":0.46828419994562864,"sampling_prob":0.0020000000949949026},"per_holder":null}},"cost":{"delta":1e-05,"epsilon":3.9955078250517624,"renyi":null,"rule":{"disjoint":false,"evaluation":null,"rule":"caps","train_step":{"noise":"gaussian","noise_multiplier":0.46828419994562864,"num_coordinates":2,"num_steps":120,"sampling_prob":0.0020000000949949026},"units":null}},"has_secret":false,"max_holders":null,"reused":{}}}','2026-11-30T08:37:43.905059+00:00','49229c486bfaa20ea966d9ad07bb938fefa94fe4b2bbb8601ff89af35918e8fe');
CREATE TABLE holders (
	name VARCHAR(255) NOT NULL, 
	kind VARCHAR(64) NOT NULL, 
	holder VARCHAR(255) NOT NULL, 
	units BIGINT NOT NULL, 
	PRIMARY KEY (name, kind, holder), 
	FOREIGN KEY(name, kind) REFERENCES caps (name, kind)
);
CREATE TABLE ledger_meta (
	id INTEGER NOT NULL, 
	schema_version INTEGER NOT NULL, 
	"key" VARCHAR(64) NOT NULL, 
	created_at VARCHAR(64) NOT NULL, 
	PRIMARY KEY (id)
);
INSERT INTO "ledger_meta" VALUES(1,2,'c95aa4ddc1e021b6f0556d78edbcbd40d645ad256804a19b609d57e1013423f3','2026-11-30T08:36:55.301554+00:00');
CREATE TABLE reservations (
	name VARCHAR(255) NOT NULL, 
	budget VARCHAR(255) NOT NULL, 
	terms TEXT NOT NULL, 
	secret TEXT, 
	closed BOOLEAN NOT NULL, 
	reserved_at VARCHAR(64) NOT NULL, 
	PRIMARY KEY (name), 
	FOREIGN KEY(budget) REFERENCES budgets (name)
);
INSERT INTO "reservations" VALUES('killed-run','private','{"budget":"private","caps":{"train_step":{"count":40,"parameters":{"noise":"gaussian","noise_multiplier":0.48346505500376225,"sampling_prob":0.0020000000949949026},"per_holder":null}},"cost":{"delta":1e-05,"epsilon":2.9961133769321107,"renyi":null,"rule":{"disjoint":false,"evaluation":null,"rule":"caps","train_step":{"noise":"gaussian","noise_multiplier":0.48346505500376225,"num_coordinates":2,"num_steps":40,"sampling_prob":0.0020000000949949026},"units":null}},"has_secret":false,"max_holders":null,"reused":{}}',NULL,0,'2026-11-30T08:36:55.367563+00:00');
INSERT INTO "reservations" VALUES('killed-sweep','private','{"budget":"private","caps":{"train_step":{"count":120,"parameters":{"noise":"gaussian","noise_multiplier":0.46828419994562864,"sampling_prob":0.0020000000949949026},"per_holder":null}},"cost":{"delta":1e-05,"epsilon":3.9955078250517624,"renyi":null,"rule":{"disjoint":false,"evaluation":null,"rule":"caps","train_step":{"noise":"gaussian","noise_multiplier":0.46828419994562864,"num_coordinates":2,"num_steps":120,"sampling_prob":0.0020000000949949026},"units":null}},"has_secret":false,"max_holders":null,"reused":{}}',NULL,0,'2026-11-30T08:37:43.905059+00:00');
CREATE TABLE studies (
	study_id INTEGER NOT NULL, 
	study_name VARCHAR(512) NOT NULL, 
	PRIMARY KEY (study_id)
);
INSERT INTO "studies" VALUES(1,'killed-sweep');
CREATE TABLE study_directions (
	study_direction_id INTEGER NOT NULL, 
	direction VARCHAR(8) NOT NULL, 
	study_id INTEGER NOT NULL, 
	objective INTEGER NOT NULL, 
	PRIMARY KEY (study_direction_id), 
	UNIQUE (study_id, objective), 
	FOREIGN KEY(study_id) REFERENCES studies (study_id)
);
INSERT INTO "study_directions" VALUES(1,'MAXIMIZE',1,0);
CREATE TABLE study_system_attributes (
	study_system_attribute_id INTEGER NOT NULL, 
	study_id INTEGER, 
	"key" VARCHAR(512), 
	value_json TEXT, 
	PRIMARY KEY (study_system_attribute_id), 
	UNIQUE (study_id, "key"), 
	FOREIGN KEY(study_id) REFERENCES studies (study_id)
);
CREATE TABLE study_user_attributes (
	study_user_attribute_id INTEGER NOT NULL, 
	study_id INTEGER, 
	"key" VARCHAR(512), 
	value_json TEXT, 
	PRIMARY KEY (study_user_attribute_id), 
	UNIQUE (study_id, "key"), 
	FOREIGN KEY(study_id) REFERENCES studies (study_id)
);
CREATE TABLE trial_heartbeats (
	trial_heartbeat_id INTEGER NOT NULL, 
	trial_id INTEGER NOT NULL, 
	heartbeat DATETIME NOT NULL, 
	PRIMARY KEY (trial_heartbeat_id), 
	UNIQUE (trial_id), 
	FOREIGN KEY(trial_id) REFERENCES trials (trial_id)
);
CREATE TABLE trial_intermediate_values (
	trial_intermediate_value_id INTEGER NOT NULL, 
	trial_id INTEGER NOT NULL, 
	step INTEGER NOT NULL, 
	intermediate_value FLOAT, 
	intermediate_value_type VARCHAR(7) NOT NULL, 
	PRIMARY KEY (trial_intermediate_value_id), 
	UNIQUE (trial_id, step), 
	FOREIGN KEY(trial_id) REFERENCES trials (trial_id)
);
INSERT INTO "trial_intermediate_values" VALUES(1,1,1,0.5,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(2,1,2,0.5,'FINITE');
CREATE TABLE trial_params (
	param_id INTEGER NOT NULL, 
	trial_id INTEGER, 
	param_name VARCHAR(512), 
	param_value FLOAT, 
	distribution_json TEXT, 
	PRIMARY KEY (param_id), 
	UNIQUE (trial_id, param_name), 
	FOREIGN KEY(trial_id) REFERENCES trials (trial_id)
);
INSERT INTO "trial_params" VALUES(1,1,'method.learning_rate',1.25206538149994720671e-03,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.0001, "high": 0.01, "log": true}}');
INSERT INTO "trial_params" VALUES(2,2,'method.learning_rate',2.69388301928541159038e-03,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.0001, "high": 0.01, "log": true}}');
CREATE TABLE trial_system_attributes (
	trial_system_attribute_id INTEGER NOT NULL, 
	trial_id INTEGER, 
	"key" VARCHAR(512), 
	value_json TEXT, 
	PRIMARY KEY (trial_system_attribute_id), 
	UNIQUE (trial_id, "key"), 
	FOREIGN KEY(trial_id) REFERENCES trials (trial_id)
);
CREATE TABLE trial_user_attributes (
	trial_user_attribute_id INTEGER NOT NULL, 
	trial_id INTEGER, 
	"key" VARCHAR(512), 
	value_json TEXT, 
	PRIMARY KEY (trial_user_attribute_id), 
	UNIQUE (trial_id, "key"), 
	FOREIGN KEY(trial_id) REFERENCES trials (trial_id)
);
INSERT INTO "trial_user_attributes" VALUES(1,1,'tune_trial_id','"4a33e3ca"');
INSERT INTO "trial_user_attributes" VALUES(2,1,'steps','40');
INSERT INTO "trial_user_attributes" VALUES(3,1,'steps_charged','40');
INSERT INTO "trial_user_attributes" VALUES(4,1,'num_steps','40');
INSERT INTO "trial_user_attributes" VALUES(5,1,'epsilon','3.363449981254203');
INSERT INTO "trial_user_attributes" VALUES(6,2,'tune_trial_id','"9724b037"');
CREATE TABLE trial_values (
	trial_value_id INTEGER NOT NULL, 
	trial_id INTEGER NOT NULL, 
	objective INTEGER NOT NULL, 
	value FLOAT, 
	value_type VARCHAR(7) NOT NULL, 
	PRIMARY KEY (trial_value_id), 
	UNIQUE (trial_id, objective), 
	FOREIGN KEY(trial_id) REFERENCES trials (trial_id)
);
INSERT INTO "trial_values" VALUES(1,1,0,0.5,'FINITE');
CREATE TABLE trials (
	trial_id INTEGER NOT NULL, 
	number INTEGER, 
	study_id INTEGER, 
	state VARCHAR(8) NOT NULL, 
	datetime_start DATETIME, 
	datetime_complete DATETIME, 
	PRIMARY KEY (trial_id), 
	FOREIGN KEY(study_id) REFERENCES studies (study_id)
);
INSERT INTO "trials" VALUES(1,0,1,'COMPLETE','2026-11-30 08:38:07.240946','2026-11-30 08:39:01.635172');
INSERT INTO "trials" VALUES(2,1,1,'RUNNING','2026-11-30 08:39:01.656750',NULL);
CREATE TABLE version_info (
	version_info_id INTEGER NOT NULL, 
	schema_version INTEGER, 
	library_version VARCHAR(256), 
	PRIMARY KEY (version_info_id), 
	CHECK (version_info_id=1)
);
INSERT INTO "version_info" VALUES(1,12,'5.0.0');
CREATE INDEX ix_reservations_budget ON reservations (budget);
CREATE UNIQUE INDEX ix_studies_study_name ON studies (study_name);
CREATE INDEX ix_trials_study_id ON trials (study_id);
COMMIT;
