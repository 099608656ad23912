from __future__ import annotations

import pytest

from portfolio_trio.redis import open_redis
from portfolio_trio.store import PortfolioStore, RunSuperseded, all_scripts, check_engine
from tests.store.engines import AT, HOLDINGS, TICK, FakeTick, stored_results
from tests.support.redis_servers import NO_PRIVATE_JSON_SERVER, json_command, private_cluster

pytestmark = pytest.mark.trio


async def test_every_script_works_where_keys_lie_on_several_nodes() -> None:
    command = json_command()
    if command is None:
        pytest.skip(NO_PRIVATE_JSON_SERVER)
    with private_cluster(command, replicas=3) as servers:
        nodes = ",".join(f"127.0.0.1:{server.port}" for server in servers[:3])
        async with open_redis(f"redis+cluster://{nodes}", scripts=all_scripts()) as client:
            await check_engine(client)
            store = PortfolioStore(client)
            names = [f"s{number}" for number in range(40)]
            for name in names:
                await store.open_session(name, holdings=HOLDINGS, tick=TICK, at=AT)
            for name in names[:5]:
                first = await store.start_analysis(name, ticker="AAPL", started_at=AT, tick_id=1)
                run = await store.start_analysis(name, ticker="AAPL", started_at=AT, tick_id=1)
                with pytest.raises(RunSuperseded):
                    await store.record_results(
                        name, run_id=first.run_id, version=1, results=["{}"], at=AT, recorded=0
                    )
                await store.record_results(
                    name, run_id=run.run_id, version=1, results=["{}"], at=AT, finish=True
                )
                assert not (await store.finish_analysis(name, run_id=run.run_id)).cleared
                assert (await store.trade(name, "AAPL", 1, tick=TICK, at=AT)).version == 2
                assert (await store.set_holdings(name, HOLDINGS, tick=TICK, at=AT)).version == 3
                assert len(await stored_results(store, name)) == 1
            large = {**TICK.prices, **{f"T{number}": 1.0 for number in range(500)}}
            report = await store.revalue_all(FakeTick(2, prices=large))
            assert (report.revalued, report.errors) == (len(names), 0)
            assert all(server.do("DBSIZE") for server in servers[:3])
