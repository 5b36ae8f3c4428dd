"""The flow *request*: storage for a dataset, from the terms to a purchase that is on its way to the chain.

Everything that the contract or the account would refuse is found out before the dataset is read. Then it is
protected: see `protecting`; and the purchase is kept on this disk before it is sent.
"""

from attrs import frozen

from codex.codec import Cid
from codex.data import Manifest
from codex.erasure import Layout
from codex.errors import InvalidInput
from codex.logs import get_logger
from codex.market import Address, RequestId, StorageAsk, StorageContent, StorageRequest
from codex.node.encoding import slot_shape
from codex.node.job import JobKind, Json
from codex.node.jobs import Job, Jobs
from codex.node.protecting import Protected, Protector
from codex.node.terms import Terms
from codex.purchasing import Purchasing

_NOBODY = Address(bytes(20))  # purchasing puts the account in

log = get_logger("node")


@frozen
class Requesting:
    """Requests storage for a node's datasets."""

    protector: Protector
    purchasing: Purchasing
    jobs: Jobs

    async def plan(self, original: Manifest, terms: Terms) -> Layout:
        """Lay the dataset out as the terms, which are checked, say, and see whether there are room and funds.

        Raises InvalidInput, QuotaExceeded, InsufficientFunds, ChainUnreachable.
        """
        least = terms.rows * original.block_size
        if original.block_count < terms.rows:
            raise InvalidInput(
                f"Dataset too small for erasure parameters, need at least {least} bytes",
                remedy="spread it over fewer nodes",
            )
        layout = await self.protector.plan(original, terms.rows, terms.tolerance)
        await self.purchasing.check(_request(original, layout, terms, StorageContent(b"", bytes(32))))
        return layout

    def begin(self, cid: Cid, original: Manifest, layout: Layout, terms: Terms) -> Job:
        """Protect the dataset and buy storage for it, in the background. The job's result has `purchaseId`.

        Its phases are those of protecting, and `buying` at last. Raises TooManyJobs.
        """

        async def work(job: Job) -> Json:
            made, id = await self._request(cid, original, layout, terms, job)
            return _result(made, id)

        return self.jobs.start(JobKind.REQUEST, work, subject=str(cid))

    async def run(self, cid: Cid, original: Manifest, layout: Layout, terms: Terms) -> RequestId:
        """The same in the caller's own task, as a job still; the purchase's id. Raises what protecting and
        buying raise, JobCancelled, TooManyJobs.
        """
        async with self.jobs.track(JobKind.REQUEST, subject=str(cid)) as job:
            made, id = await self._request(cid, original, layout, terms, job)
            job.result = _result(made, id)
        return id

    async def _request(
        self, cid: Cid, original: Manifest, layout: Layout, terms: Terms, job: Job
    ) -> tuple[Protected, RequestId]:
        made = await self.protector.protect(cid, original, layout, job)
        job.phase = "buying"
        content = StorageContent(made.cid.raw, made.verify_root.digest)
        purchase = await self.purchasing.buy(_request(original, layout, terms, content))
        log.info("storage requested", cid=str(cid), purchase=str(purchase.id))
        return made, purchase.id


def _request(original: Manifest, layout: Layout, terms: Terms, content: StorageContent) -> StorageRequest:
    ask = StorageAsk(
        proof_probability=terms.proof_probability,
        price_per_byte_per_second=terms.price_per_byte_per_second,
        collateral_per_byte=terms.collateral_per_byte,
        slots=layout.rows,
        slot_size=slot_shape(original, layout).slot_size,
        duration=terms.duration,
        max_slot_loss=terms.tolerance,
    )
    return StorageRequest(client=_NOBODY, ask=ask, content=content, expiry=terms.expiry, nonce=bytes(32))


def _result(made: Protected, purchase: RequestId) -> Json:
    return {"purchaseId": str(purchase), "verifiableCid": str(made.cid), "treeCid": str(made.tree_cid)}
